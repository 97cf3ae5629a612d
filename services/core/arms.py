"""Arms of an experiment: ways to choose training samples, so that the cause of a gain can be found.

    zero-shot                  nothing
    teacher                    the teacher itself answers
    paper                      the parity gap, as the paper has it (Eq. 2)
    rehearsal[-R]              the gap, and for each of its samples R that the student had right
                               (1 unless given)
    without-pi                 every annotation ("MPA (w/o PI)" of Tables 6 and 9)
    without-pi-step-matched    annotations, each used once, for as many steps as `paper` takes
    random                     as many annotations as the gap has, drawn from all
    random-rehearsal[-R]       as many annotations as `rehearsal-R` trains on, drawn from all
    labels[-N]                 N human labels, or all ("Full SFT" of Table 5, "HL" of Table 6)
    labels[-N]-lora            the same, with low-rank adapters ("LoRA SFT" of Table 5)

A trained arm may end in @SHARE, such as paper@0.25, to use that share of its samples: a learning
curve.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import TypeVar

from services.core.errors import InvalidInput
from services.core.parity import Sample, select

T = TypeVar("T")


class SampleSource(StrEnum):
    """Training samples of an arm."""

    NOTHING = "nothing"
    GAP = "gap"
    ANNOTATIONS = "annotations"
    STEP_MATCHED = "step-matched"
    RANDOM = "random"
    LABELS = "labels"


OF_STUDENT = frozenset(
    {SampleSource.GAP, SampleSource.ANNOTATIONS, SampleSource.STEP_MATCHED, SampleSource.RANDOM}
)
"""Sources that need a teacher's annotations and the student's answers to them."""

FORMS = {
    "zero-shot": SampleSource.NOTHING,
    "teacher": SampleSource.NOTHING,
    "paper": SampleSource.GAP,
    "rehearsal": SampleSource.GAP,
    "without-pi": SampleSource.ANNOTATIONS,
    "without-pi-step-matched": SampleSource.STEP_MATCHED,
    "random": SampleSource.RANDOM,
    "random-rehearsal": SampleSource.RANDOM,
    "labels": SampleSource.LABELS,
}
_NAME = re.compile(
    r"(?P<form>zero-shot|teacher|paper|without-pi-step-matched|without-pi|random"
    r"|(?:random-)?rehearsal(?:-(?P<ratio>\d+(?:\.\d+)?))?"
    r"|labels(?:-(?P<count>[1-9]\d*))?(?P<lora>-lora)?)(?:@(?P<share>0?\.\d+))?"
)
WRITTEN = (
    "zero-shot, teacher, paper, rehearsal-R, without-pi, without-pi-step-matched, random, "
    "random-rehearsal-R, labels-N, labels-N-lora"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm.

    `ratio`: known samples for each gap sample; for a random arm, the ratio of the arm whose size it
    takes. `count`: number of labels, 0 for all. `share`: the part of its samples that it uses.
    """

    name: str
    source: SampleSource
    ratio: float = 0.0
    count: int = 0
    is_lora: bool = False
    share: float = 1.0

    @property
    def is_teacher(self) -> bool:
        return self.name == "teacher"

    @property
    def is_trained(self) -> bool:
        return self.source is not SampleSource.NOTHING

    @property
    def needs_teacher(self) -> bool:
        """Does the arm depend on a teacher's annotations or answers?"""
        return self.is_teacher or self.source in OF_STUDENT

    @property
    def whole(self) -> str:
        """Name of the arm with all samples: this one without its @SHARE."""
        return self.name.partition("@")[0]


def parse_arm(name: str) -> Arm:
    """The arm of this name. Raises InvalidInput with a list of the arms."""
    found = _NAME.fullmatch(name)
    if not found or (found["share"] and found["form"] in ("zero-shot", "teacher")):
        raise InvalidInput(
            f"there is no arm {name!r}: use {WRITTEN}; a trained arm may end in @SHARE",
            field="arms",
        )
    form = re.sub(r"-\d.*|-lora$", "", found["form"])
    share = float(found["share"] or 1.0)
    if share == 0.0:
        raise InvalidInput(
            f"the arm {name!r} trains on nothing: give a share above 0", field="arms"
        )
    ratio = float(found["ratio"] or 1.0) if "rehearsal" in form else 0.0
    return Arm(name, FORMS[form], ratio, int(found["count"] or 0), bool(found["lora"]), share)


def choose(arm: Arm, samples: Sequence[Sample], seed: int, epochs: int) -> list[Sample]:
    """The training samples of an arm, out of all identified `samples`.

    Draws depend on `seed`, not on the order of `samples`. `epochs`: the passes of `paper` over its
    samples, which decide the steps of a step-matched arm.
    """
    selected = select(samples, arm.ratio)
    if arm.source is SampleSource.GAP:
        chosen = selected
    elif arm.source is SampleSource.ANNOTATIONS:
        chosen = draw(samples, _key, len(samples), seed)
    elif arm.source is SampleSource.RANDOM:
        chosen = draw(samples, _key, len(selected), seed)
    else:
        in_turn = cycle(draw(samples, _key, len(samples), seed))
        chosen = list(islice(in_turn, len(selected) * epochs))
    if arm.share == 1.0:
        return chosen
    return draw(chosen, _key, max(1, round(arm.share * len(chosen))), seed)


def epochs_of(arm: Arm, epochs: int) -> int:
    """Passes of an arm over its samples, given the passes of `paper` over the gap."""
    return 1 if arm.source is SampleSource.STEP_MATCHED else epochs


def draw(items: Sequence[T], key: Callable[[T], str], count: int, seed: int) -> list[T]:
    """Draw up to `count` items. A larger draw with the same seed contains a smaller one."""

    def place(item: T) -> bytes:
        return hashlib.sha256(f"{seed}\n{key(item)}".encode()).digest()

    return sorted(items, key=place)[:count]


def _key(sample: Sample) -> str:
    return sample.key
