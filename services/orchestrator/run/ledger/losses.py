"""Losses of training samples by epoch, with the answers that they were trained on."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.opinions import Label

LOSSES = """
SELECT round, answer, by_epoch FROM losses
WHERE shelf = ? AND image_sha256 = ? AND question = ? ORDER BY round
"""


@dataclass(frozen=True, slots=True)
class StoredLosses:
    """Losses of a question's sample in the last training of a round.

    `answer`: what it was trained on. `by_epoch`: None where the loss is not known.
    """

    round: int
    answer: str
    by_epoch: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        return mean_loss(self.by_epoch)


def keep_losses(ledger: Ledger, found: Mapping[Label, Sequence[float]]) -> None:
    """Keeps losses by epoch of the round at work, and replaces earlier ones.

    One that is no finite number is not known. Call it within `at_once`.
    """
    ledger.write("DELETE FROM losses WHERE round = ?", ledger.round)
    for (image_sha256, question, answer), losses in found.items():
        known = [round(loss, 5) if math.isfinite(loss) else None for loss in losses]
        ledger.insert(
            "losses",
            {
                "shelf": ledger.shelf(image_sha256),
                "image_sha256": image_sha256,
                "question": question,
                "round": ledger.round,
                "answer": answer,
                "by_epoch": json.dumps(known),
            },
        )


def losses_of(ledger: Ledger, image_sha256: str, question: str) -> list[StoredLosses]:
    """Losses of a question's sample, by round."""
    rows = ledger.read(LOSSES, ledger.shelf(image_sha256), image_sha256, question)
    return [StoredLosses(int(n), str(answer), read_losses(text)) for n, answer, text in rows]


def read_losses(text: str) -> tuple[float | None, ...]:
    """Losses by epoch, from the text of the table."""
    return tuple(json.loads(text))


def mean_loss(by_epoch: Sequence[float | None]) -> float | None:
    """Mean over the epochs whose loss is known; None if there is none."""
    known = [loss for loss in by_epoch if loss is not None]
    return statistics.fmean(known) if known else None
