"""Parts of an arm's or recipe's name, each after a plus and in this order: filtered+emphasis-2.

    emphasis-R    gap samples are met R times as often as known ones (emphasis.py), in as many steps
    weight-R      a gap sample weighs R times as much in the loss as a known one
    repair-N      N further trainings, in which samples that the one before got wrong are met more
                  often (repair.py)
    anchor-W      as many anchors as samples: the student's own answers to questions of elsewhere
                  are kept, with weight W (anchors.py); 0: none
    narrow        only attention projections and the connector are trained (model_parts.py)
    narrow-gate-up    the same with gate and up projections
    tower-X       the vision tower learns at X times the learning rate; 0 freezes it
    epochs-N      N passes over the samples instead of those of the student's preset
    rate-X        learning rate X
    decay-X       weight decay X

The last three are settings of the training: arms that differ only in them are variants of one arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from services.core.errors import InvalidInput
from services.core.parity import WEIGHTS
from services.core.regimen import Regimen
from services.core.repair import MOST_REPAIRS

R = TypeVar("R", bound=Regimen)


@dataclass(frozen=True, slots=True)
class ArmPart:
    """A part: the field of Regimen that it sets, and its values.

    `read` raises ValueError, for which people are told what is `wanted`. `is_setting`: it sets how
    long or how fast the whole student is trained, not on which samples.
    """

    field: str
    read: Callable[[str], float | str]
    wanted: str
    is_setting: bool = True


def _number(
    least: float, most: float = math.inf, of: Callable[[str], float] = float
) -> Callable[[str], float]:
    """A reader of finite numbers from `least` to `most`."""

    def read(text: str) -> float:
        value = of(text)
        if not (least <= value <= most and math.isfinite(value)):
            raise ValueError(text)
        return value

    return read


def _anchor(text: str) -> float:
    value = float(text)
    return 0.0 if value == 0.0 else _number(*WEIGHTS)(text)


def _trainable(text: str) -> str:
    if text not in NARROW:
        raise ValueError(text)
    return NARROW[text]


NARROW = {"": "attention", "gate-up": "gate-up"}
"""Trained parts of the student (model_parts.py), by the value of +narrow."""
_BELOW_1 = math.nextafter(1, 0)
PARTS = {
    "emphasis": ArmPart("emphasis", _number(1), "a number, 1 or more", is_setting=False),
    "weight": ArmPart(
        "gap_weight", _number(*WEIGHTS), "a number from 0.001 to 1,000", is_setting=False
    ),
    "repair": ArmPart("repairs", _number(1, MOST_REPAIRS, int), "1 or 2", is_setting=False),
    "anchor": ArmPart("anchor", _anchor, "0, or a number from 0.001 to 1,000", is_setting=False),
    "narrow": ArmPart("trainable", _trainable, "gate-up, or nothing", is_setting=False),
    "tower": ArmPart("tower_rate", _number(0, 1), "a number from 0 to 1", is_setting=False),
    "epochs": ArmPart("epochs", _number(1, 1000, int), "a whole number from 1 to 1,000"),
    "rate": ArmPart("learning_rate", _number(math.ulp(0.0), _BELOW_1), "a number from 0 to 1"),
    "decay": ArmPart("weight_decay", _number(0, _BELOW_1), "a number from 0 to 1"),
}
"""Parts by name, in the order in which they are written."""
FORM_OF_PARTS = (
    "+emphasis-R, +weight-R, +repair-N, +anchor-W, +narrow or +narrow-gate-up, +tower-X, "
    "+epochs-N, +rate-X, +decay-X"
)


def with_parts(
    name: str, regimen: R, written: str, *, is_lora: bool = False, what: str = "arm"
) -> R:
    """The regimen with the parts in the name of an arm or a recipe (`what`).

    `written`: the parts, each after a plus. Raises InvalidInput that names a wrong one.
    """

    def wrong(why: str) -> InvalidInput:
        return InvalidInput(f"the {what} {name!r} {why}", field="arms" if what == "arm" else what)

    parts = [part.partition("-") for part in written.split("+")[1:]]
    found = [part for part, _, _ in parts]
    if found != [part for part in PARTS if part in found]:
        raise wrong(f"has a wrong part: write {FORM_OF_PARTS}, in this order")
    changes: dict[str, Any] = {}
    for part, _, text in parts:
        try:
            changes[PARTS[part].field] = PARTS[part].read(text)
        except ValueError as error:
            raise wrong(f"has {part} {text!r}: give {PARTS[part].wanted}") from error
    ways = changes.keys() & {"trainable", "tower_rate"}
    if len(ways) + is_lora > 1:
        lora = "-lora, " if what == "arm" else ""
        raise wrong(
            f"trains parts of the student in two ways: give one of {lora}+narrow and +tower-X"
        )
    if changes.keys() & {"emphasis", "gap_weight"} and regimen.rehearsal_ratio == 0:
        raise wrong(
            "has no known samples besides the gap, so there is nothing to emphasize: "
            f"use filtered or rehearsal{'-R' if what == 'arm' else ''}"
        )
    return replace(regimen, **changes)


def tuned(name: str, settings: Mapping[str, float]) -> str:
    """The name of an arm with settings by part, such as {"epochs": 4}."""
    whole, at, share = name.partition("@")
    written = (f"{part}-{settings[part]:g}" for part in PARTS if part in settings)
    return "+".join((whole, *written)) + at + share


def in_words(name: str) -> str:
    """The settings in an arm's name, such as "epochs 4, rate 0.001"."""
    parts = (part.partition("-") for part in name.partition("@")[0].split("+")[1:])
    settings = [f"{part} {value}" for part, _, value in parts if PARTS[part].is_setting]
    return ", ".join(settings) or "the preset's settings"


def untuned(name: str) -> str:
    """The name of an arm without its settings."""
    return _without(name, [part for part, of in PARTS.items() if of.is_setting])


def without_epochs(name: str) -> str:
    """The name of an arm with all its parts but the number of epochs."""
    return _without(name, ["epochs"])


def _without(name: str, left_out: Collection[str]) -> str:
    whole, at, share = name.partition("@")
    form, *parts = whole.split("+")
    kept = (part for part in parts if part.partition("-")[0] not in left_out)
    return "+".join((form, *kept)) + at + share
