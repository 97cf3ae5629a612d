"""Arms of an experiment: ways to choose training samples, so that the cause of a gain can be found.

    zero-shot                  nothing
    teacher                    the teacher itself answers
    paper                      the parity gap, as the paper has it (Eq. 2)
    rehearsal[-R]              the gap, and for each of its samples R that the student had right
                               (1 unless given)
    filtered                   the gap, and all that the student had right: the teacher contradicts
                               the rest
    without-pi                 every annotation ("MPA (w/o PI)" of Tables 6 and 9)
    without-pi-step-matched    annotations, for as many steps as `paper` takes; none is used again
                               before all others are used
    without-pi-step-matched-filtered    the same, for as many steps as `filtered` takes
    random                     as many annotations as the gap has, drawn from all
    random-rehearsal[-R]       as many annotations as `rehearsal-R` trains on, drawn from all
    labels[-N]                 N human labels, or all ("Full SFT" of Table 5, "HL" of Table 6)
    labels[-N]-lora            the same, with low-rank adapters ("LoRA SFT" of Table 5)

A trained arm may have parts (arm_parts.py), such as filtered+emphasis-2+epochs-4.

A trained arm may end in @SHARE, such as paper@0.25, to use that share of its samples: a learning
curve.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from services.core.arm_parts import FORM_OF_PARTS, untuned, with_parts
from services.core.errors import InvalidInput
from services.core.parity import Sample, select
from services.core.regimen import Regimen, draw


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
    "filtered": SampleSource.GAP,
    "without-pi": SampleSource.ANNOTATIONS,
    "without-pi-step-matched": SampleSource.STEP_MATCHED,
    "without-pi-step-matched-filtered": SampleSource.STEP_MATCHED,
    "random": SampleSource.RANDOM,
    "random-rehearsal": SampleSource.RANDOM,
    "labels": SampleSource.LABELS,
}
_NAME = re.compile(
    r"(?P<form>zero-shot|teacher|paper|filtered|without-pi(?:-step-matched(?:-filtered)?)?|random"
    r"|(?:random-)?rehearsal(?:-(?P<ratio>\d+(?:\.\d+)?))?"
    r"|labels(?:-(?P<count>[1-9]\d*))?(?P<lora>-lora)?)"
    r"(?P<parts>(?:\+[^+@]*)*)(?:@(?P<share>0?\.\d+))?"
)
WRITTEN = (
    "zero-shot, teacher, paper, rehearsal-R, filtered, without-pi, without-pi-step-matched, "
    "without-pi-step-matched-filtered, random, random-rehearsal-R, labels-N, labels-N-lora"
)


USUAL = Regimen()


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm."""

    name: str
    """Name in files and tables."""
    source: SampleSource
    """Training samples."""
    regimen: Regimen = USUAL
    """How it trains. Of a random or step-matched arm: the samples of its model."""
    count: int = 0
    """Number of labels; 0 for all."""
    is_lora: bool = False
    """Whether low-rank adapters are trained instead of all weights."""
    share: float = 1.0
    """Share of its samples that it uses."""

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
    def untuned(self) -> str:
        """Name of the arm without settings of the training."""
        return untuned(self.name)

    @property
    def whole(self) -> str:
        """Name of the arm with all samples: this one without its @SHARE."""
        return self.name.partition("@")[0]


def parse_arm(name: str) -> Arm:
    """The arm of this name. Raises InvalidInput with a list of the arms."""
    found = _NAME.fullmatch(name)
    is_trained = found and FORMS[_form(found)] is not SampleSource.NOTHING
    if not found or ((found["share"] or found["parts"]) and not is_trained):
        raise InvalidInput(
            f"there is no arm {name!r}: use {WRITTEN}; a trained arm may have parts "
            f"({FORM_OF_PARTS}) and end in @SHARE",
            field="arms",
        )
    form = _form(found)
    share = float(found["share"] or 1.0)
    if share == 0.0:
        raise InvalidInput(
            f"the arm {name!r} trains on nothing: give a share above 0", field="arms"
        )
    ratio = float(found["ratio"] or 1.0) if "rehearsal" in form else 0.0
    of_form = Regimen(rehearsal_ratio=None if form.endswith("filtered") else ratio)
    regimen = with_parts(name, of_form, found["parts"], is_lora=bool(found["lora"]))
    of_gap = (regimen.emphasis, regimen.gap_weight, regimen.repairs)
    if of_gap != (0.0, 1.0, 0) and FORMS[form] is not SampleSource.GAP:
        raise InvalidInput(
            f"the arm {name!r} doesn't train on the gap, so there is nothing to emphasize and "
            "nothing is known to break: use paper, rehearsal-R or filtered",
            field="arms",
        )
    if regimen.anchor and FORMS[form] is SampleSource.LABELS:
        raise InvalidInput(
            f"the arm {name!r} trains on labels, and anchors are drawn next to a run's records: "
            "use an arm that trains on a run, such as filtered",
            field="arms",
        )
    count = int(found["count"] or 0)
    return Arm(name, FORMS[form], regimen, count, bool(found["lora"]), share)


def _form(found: re.Match[str]) -> str:
    return re.sub(r"-\d.*|-lora$", "", found["form"])


def choose(arm: Arm, samples: Sequence[Sample], seed: int, epochs: int) -> list[Sample]:
    """The training samples of an arm, out of all identified `samples`.

    Draws depend on `seed`, not on the order of `samples`. `epochs`: the passes of the student's
    preset. A step-matched arm lists as many meetings as the passes of `paper` or `filtered` have,
    and so does an arm with emphasis: both are trained in one pass.
    """
    regimen = arm.regimen
    selected = select(samples, regimen.rehearsal_ratio)
    if arm.source is SampleSource.GAP:
        chosen = selected
    elif arm.source is SampleSource.ANNOTATIONS:
        chosen = draw(samples, _key, len(samples), seed)
    elif arm.source is SampleSource.RANDOM:
        chosen = draw(samples, _key, len(selected), seed)
    else:
        in_turn = cycle(draw(samples, _key, len(samples), seed))
        chosen = list(islice(in_turn, len(selected) * (regimen.epochs or epochs)))
    if arm.share < 1.0:
        chosen = draw(chosen, _key, max(1, round(arm.share * len(chosen))), seed)
    return regimen.meetings(chosen, seed, epochs)


def epochs_of(arm: Arm, epochs: int) -> int:
    """Passes of an arm over its samples, given those of the student's preset."""
    return 1 if arm.source is SampleSource.STEP_MATCHED else arm.regimen.passes(epochs)


def _key(sample: Sample) -> str:
    return sample.key
