"""Variants of an arm: the same samples trained longer, faster or with more weight decay.

An entry of a file's `arms` may be an object with lists of settings. Each combination is a variant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import product

from services.core.arm_parts import PARTS, tuned
from services.core.arms import Arm
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.experiments.experiment import TEST, Experiment

SETTINGS = {part.field: name for name, part in PARTS.items() if part.is_setting}
"""Parts of an arm's name by the keys of the file."""


def expand_arms(top: Fields) -> Fields:
    """The file with names of arms only. Raises InvalidInput that names the key."""
    listed = top.values.get("arms")
    if not isinstance(listed, list) or not any(isinstance(entry, dict) for entry in listed):
        return top
    names: list[object] = []
    for number, entry in enumerate(listed):
        if isinstance(entry, dict):
            names += _variants(Fields(f"{top.where}, arms[{number}]", entry))
        else:
            names.append(entry)
    return top.with_values(arms=names)


def _variants(fields: Fields) -> list[str]:
    fields.require_known(("arm", *SETTINGS))
    given = {part: _values(fields, key) for key, part in SETTINGS.items() if key in fields.values}
    return [
        tuned(name, dict(zip(given, values, strict=True)))
        for name in fields.texts("arm")
        for values in product(*given.values())
    ]


def _values(fields: Fields, key: str) -> list[float]:
    """One number, or several."""
    found = fields.values[key]
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise fields.fault(key, "is empty: give at least one number")
    return [fields.with_values(**{key: value}).real(key) for value in listed]


def variants(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """Arms by their names without settings."""
    found: dict[str, list[Arm]] = defaultdict(list)
    for arm in arms:
        found[arm.untuned].append(arm)
    return found


def require_choice(top: Fields, experiment: Experiment) -> None:
    """Raises InvalidInput: the test draw would choose among variants of an arm.

    An arm may be there twice: with settings in its name, and with those that were chosen for it.
    """
    stated = [arm for arm in experiment.arms if not experiment.is_chosen(arm)]
    several = [of for of in variants(stated).values() if len(of) > 1]
    if several and experiment.draw == TEST:
        named = ", ".join(arm.name for arm in several[0])
        raise top.fault(
            "arms",
            f"has variants of one arm ({named}), and mpa-orch refuses to choose on the test draw: "
            'compare them with draw = "dev", then name the best one here, or as "chosen" the file '
            "of choices that dev makes",
        )
    if experiment.choices and experiment.draw != TEST:
        raise top.fault("chosen", 'is for draw = "test": variants are compared on the dev draw')
