"""Calibration of a run's student on held-out records, before and after the training.

Counting it reads all held-out scores with their answers, which takes seconds for 100,000 of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from services.core.reliability import NO_ANSWERS, Bin, Reliability, reliability
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.scores import certainties


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of both versions; without answers if no log-probabilities were kept."""

    before: Reliability = NO_ANSWERS
    after: Reliability = NO_ANSWERS

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """The calibration; one without answers for the text ""."""
        known = json.loads(text or "{}")
        return cls(
            **{
                name: Reliability(tuple(Bin(**part) for part in found["bins"]))
                for name, found in known.items()
            }
        )


def count_calibration(ledger: Ledger, base: str, candidate: str) -> Calibration:
    """`base` and `candidate`: names of the versions; "" if there is none yet."""

    def answers(role: str, version: str) -> Iterator[tuple[float, bool]]:
        for logprob, score in certainties(ledger, role, version):
            yield math.exp(min(0.0, logprob)), score >= 0.5

    return Calibration(
        reliability(answers("before", base)), reliability(answers("after", candidate))
    )
