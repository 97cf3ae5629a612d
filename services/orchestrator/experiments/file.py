"""Reading an experiment's file (TOML).

All of it is checked before a model is asked, and each error names the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from services.core.arms import SampleSource, parse_arm
from services.core.errors import InvalidInput, NotFound
from services.core.presets import find_preset
from services.core.recipes import Recipe, find_recipe
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.experiments.choices import read_choices
from services.orchestrator.experiments.entries import read_entries
from services.orchestrator.experiments.experiment import (
    AXES,
    LATENCY_QUESTIONS,
    LORA,
    Experiment,
    Layout,
    Lora,
)
from services.orchestrator.experiments.plan import subjects
from services.orchestrator.experiments.variants import expand_arms, require_choice

T = TypeVar("T")

SEEDS = (0, 1, 2)
LOSSES = {"token": "token", "sample": "sample", "preset": ""}
TABLES_OF_FILE = ("tasks", "settings", "tables")
KEYS = (
    "title",
    "students",
    "teachers",
    "arms",
    "seeds",
    "recipe",
    "questions",
    "held_out",
    "max_pixels",
    "loss",
    "lora",
    "latency",
    "test_on",
    "draw",
    "chosen",
    "claim",
    *TABLES_OF_FILE,
)
TABLE_KEYS = ("name", "title", "paper", "rows", "columns", "samples", "steps", "gains", "metrics")


def read_experiment(path: Path, data: Path = Path()) -> Experiment:
    """Read an experiment. `data`: the folder that relative paths in the file start from.

    Raises NotFound, InvalidInput that names the key.
    """
    try:
        top = Fields(path.name, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise NotFound(
            f"there is no experiment {path} ({error.strerror}): "
            "experiments/ holds the experiments of the paper"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from error
    top.require_known(KEYS)
    arms = _each(expand_arms(top), "arms", parse_arm)
    experiment = Experiment(
        name=path.stem,
        title=top.get("title", path.stem),
        students=_each(top, "students", lambda name: find_preset(name, "student").name),
        teachers=_each(top, "teachers", lambda name: find_preset(name, "teacher").name),
        arms=arms,
        seeds=_seeds(top),
        entries=read_entries(top, data),
        recipe=_recipe(top),
        max_pixels=top.positive("max_pixels") if "max_pixels" in top.values else 0,
        tables=_layouts(top, path.stem),
        lora=_lora(top),
        latency=top.number("latency") if "latency" in top.values else LATENCY_QUESTIONS,
        settings=_settings(top, data),
        claim=top.get("claim"),
        choices=read_choices(top, data),
    )
    if any(arm.is_lora for arm in arms):
        experiment = replace(experiment, settings=_settings_for_lora(experiment))
    _require_whole(top, experiment)
    require_choice(top, experiment)
    subjects(experiment)  # each has its settings
    return experiment


def _settings_for_lora(experiment: Experiment) -> dict[str, dict[str, str]]:
    """The settings of the file, and the rank of the adapters that each student must serve."""
    found = {name: {"MAX_LORA_RANK": str(experiment.lora.rank)} for name in experiment.students}
    for name, named in experiment.settings.items():
        found[name] = {**found.get(name, {}), **named}
    return found


def _each(fields: Fields, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """A list of names, each once; () if it is missing. Raises InvalidInput that names the key."""
    if key not in fields.values:
        return ()
    names = fields.texts(key)
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise fields.fault(key, f"names {twice!r} twice")
    try:
        return tuple(read(name) for name in names)
    except InvalidInput as error:
        raise fields.fault(key, f"is wrong: {error}") from error


def _seeds(top: Fields) -> tuple[int, ...]:
    found = top.values.get("seeds", list(SEEDS))
    seeds = (
        tuple(seed for seed in found if type(seed) is int and seed >= 0)
        if isinstance(found, list)
        else ()
    )
    if not seeds or [*dict.fromkeys(seeds)] != found:
        raise top.fault("seeds", f"is {found!r}: give different whole numbers, such as [0, 1, 2]")
    return seeds


def _recipe(top: Fields) -> Recipe:
    """The recipe. Nothing is held out by default: the test decides, and nothing is promoted."""
    name = top.get("recipe", "paper")
    if "+" in name:
        raise top.fault("recipe", f"is {name!r}: name parts of the training in arms")
    try:
        recipe = find_recipe(name)
    except InvalidInput as error:
        raise top.fault("recipe", f"is wrong: {error}") from error
    held_out = top.real("held_out") if "held_out" in top.values else 0.0
    if not 0.0 <= held_out < 1.0:
        raise top.fault("held_out", f"is {held_out:g}: give a share of the images below 1")
    recipe = replace(recipe, held_out=held_out)
    if "loss" in top.values:
        recipe = replace(recipe, loss=_loss(top))
    if "questions" in top.values:
        recipe = replace(recipe, questions_per_image=top.positive("questions"))
    return recipe


def _loss(top: Fields) -> str:
    """The loss; "" leaves the choice to each student's preset."""
    found = top.get("loss")
    if found not in LOSSES:
        raise top.fault("loss", f"is {found!r}: choose one of {', '.join(LOSSES)}")
    return LOSSES[found]


def _lora(top: Fields) -> Lora:
    if "lora" not in top.values:
        return LORA
    fields = top.inner("lora")
    fields.require_known(("rank", "learning_rate"))
    return Lora(fields.positive("rank"), fields.real("learning_rate"))


def _settings(top: Fields, data: Path) -> dict[str, dict[str, str]]:
    if "settings" not in top.values:
        return {}
    named = top.inner("settings")
    return {
        name: {key: _setting(str(value), data) for key, value in named.inner(name).values.items()}
        for name in named.values
    }


def _setting(value: str, data: Path) -> str:
    """The setting, absolute if it is a path in `data`: a service has its own working directory."""
    return str((data / value).absolute()) if "/" in value and (data / value).exists() else value


def _layouts(top: Fields, name: str) -> tuple[Layout, ...]:
    if "tables" not in top.values:
        return (Layout(name, top.get("title", name), ("student", "arm"), ("teacher", "on")),)
    return tuple(_layout(fields) for fields in top.objects("tables"))


def _layout(fields: Fields) -> Layout:
    fields.require_known(TABLE_KEYS)
    rows = fields.texts("rows")
    columns = fields.texts("columns")
    for key, axes in (("rows", rows), ("columns", columns)):
        if wrong := [axis for axis in axes if axis not in AXES]:
            raise fields.fault(key, f"names {wrong[0]!r}: choose from {', '.join(AXES)}")
    if both := set(rows) & set(columns):
        raise fields.fault("columns", f"names {min(both)!r}, and so do the rows")
    if fields.values.get("metrics") is True and "on" not in rows:
        raise fields.fault("metrics", 'are rows of each test: name "on" among the rows')
    return Layout(
        name=fields.text("name"),
        title=fields.get("title", fields.text("name")),
        rows=rows,
        columns=columns,
        paper=fields.get("paper"),
        samples=fields.values.get("samples") is True,
        steps=fields.values.get("steps") is True,
        gains=fields.values.get("gains") is True,
        metrics=fields.values.get("metrics") is True,
    )


def _require_whole(top: Fields, experiment: Experiment) -> None:
    """Check that the file has all that its arms need. Raises InvalidInput that names the key."""
    if not experiment.arms:
        raise top.fault("arms", "is missing: name the arms to compare")
    for arm in experiment.arms:
        if arm.needs_teacher and not experiment.teachers:
            raise top.fault("teachers", f"is missing, and the arm {arm.name} needs one")
        if not arm.is_teacher and not experiment.students:
            raise top.fault("students", f"is missing, and the arm {arm.name} needs one")
        if arm.is_trained and not experiment.trained_on(arm.source):
            what = "labels" if arm.source is SampleSource.LABELS else "pool"
            raise top.fault(
                "tasks", f"has no task with {what}, and the arm {arm.name} trains on that"
            )
    if not any(entry.test for entry in experiment.entries.values()):
        raise top.fault("tasks", "has no task with a test: there is nothing to measure on")
    for name in experiment.settings:
        if name not in (*experiment.students, *experiment.teachers):
            raise top.fault(
                "settings", f"names {name!r}, which is no student or teacher of this experiment"
            )
