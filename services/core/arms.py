"""Arms of an experiment: what one student is trained on, so that a gain can be told from what else might have brought it.

    zero-shot                  nothing
    teacher                    the teacher itself answers
    paper                      the parity gap, as the paper has it (Eq. 2)
    rehearsal[-R]              the gap, and R samples that the student had right for each of the gap (1 unless given)
    without-pi                 every annotation ("MPA (w/o PI)" of Tables 6 and 9)
    without-pi-step-matched    so many of them, each met once, that training takes the steps of `paper`
    random                     as many as the gap, drawn from all annotations
    random-rehearsal[-R]       as many as `rehearsal-R` trains on, drawn from all annotations
    labels[-N]                 human labels: N of them, or all ("Full SFT" of Table 5, "HL" of Table 6)
    labels[-N]-lora            the same, with low-rank adapters ("LoRA SFT" of Table 5)

An arm that trains may end in @SHARE, such as paper@0.25: that share of its samples, for a learning curve.
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
    """What an arm trains on."""

    NOTHING = "nothing"
    GAP = "gap"
    ANNOTATIONS = "annotations"
    STEP_MATCHED = "step-matched"
    RANDOM = "random"
    LABELS = "labels"


OF_STUDENT = frozenset(
    {SampleSource.GAP, SampleSource.ANNOTATIONS, SampleSource.STEP_MATCHED, SampleSource.RANDOM}
)
"""What comes from a teacher's annotations and the student's answers to them."""

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
    r"(?P<form>zero-shot|teacher|paper|without-pi-step-matched|without-pi|random|(?:random-)?rehearsal(?:-(?P<ratio>\d+(?:\.\d+)?))?"
    r"|labels(?:-(?P<count>[1-9]\d*))?(?P<lora>-lora)?)(?:@(?P<share>0?\.\d+))?"
)
WRITTEN = (
    "zero-shot, teacher, paper, rehearsal-R, without-pi, without-pi-step-matched, random, random-rehearsal-R, labels-N, "
    "labels-N-lora"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """`ratio`: known samples for each of the gap, or those of the arm whose size is drawn. `count`: of labels, 0 for all.

    `share` of the samples that it would train on.
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
        """Is a teacher part of what it is?"""
        return self.is_teacher or self.source in OF_STUDENT

    @property
    def whole(self) -> str:
        """The arm of whose samples this one has a share; its own name where it has all."""
        return self.name.partition("@")[0]


def parse_arm(name: str) -> Arm:
    """Raises InvalidInput that lists the arms."""
    found = _NAME.fullmatch(name)
    if not found or (found["share"] and found["form"] in ("zero-shot", "teacher")):
        raise InvalidInput(
            f"there is no arm {name!r}: choose of {WRITTEN}; one that trains may end in @SHARE",
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
    """What it trains on; `samples` are all that were identified. Draws are by `seed`, whatever the order of `samples`.

    `epochs`: how often `paper` meets each sample, which is how many steps a step-matched arm has to take.
    """
    selected = select(samples, arm.ratio)
    if arm.source is SampleSource.GAP:
        chosen = selected
    elif arm.source is SampleSource.ANNOTATIONS:
        chosen = draw(samples, _key, len(samples), seed)
    elif arm.source is SampleSource.RANDOM:
        chosen = draw(samples, _key, len(selected), seed)
    else:
        chosen = (
            list(islice(cycle(draw(samples, _key, len(samples), seed)), len(selected) * epochs))
            if samples
            else []
        )
    return (
        chosen
        if arm.share == 1.0
        else draw(chosen, _key, max(1, round(arm.share * len(chosen))), seed)
    )


def epochs_of(arm: Arm, epochs: int) -> int:
    """How often it meets each of its samples, where `paper` meets its own `epochs` times."""
    return 1 if arm.source is SampleSource.STEP_MATCHED else epochs


def draw(items: Sequence[T], key: Callable[[T], str], count: int, seed: int) -> list[T]:
    """`count` of them, or all where there are no more; a larger draw with the same seed holds a smaller one."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}\n{key(item)}".encode()).digest())[
        :count
    ]


def _key(sample: Sample) -> str:
    return sample.key
