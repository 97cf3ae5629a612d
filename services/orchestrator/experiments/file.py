"""Reading an experiment's file (TOML).

All of it is checked before a model is asked, and each error names the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from services.core.arms import SampleSource, parse_arm
from services.core.errors import InvalidInput, NotFound
from services.core.presets import find_preset
from services.core.recipes import RECIPES, Recipe
from services.core.tasks import TASKS
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.experiments.experiment import (
    AXES,
    LATENCY_QUESTIONS,
    LORA,
    Experiment,
    LabelledSet,
    Layout,
    Lora,
    TaskEntry,
)
from services.orchestrator.images.store import is_url

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
    "max_pixels",
    "loss",
    "lora",
    "latency",
    "test_on",
    *TABLES_OF_FILE,
)
TASK_KEYS = ("task", "pool", "limit", "test", "labels", "test_on")
SET_KEYS = ("files", "images", "split", "format", "limit")
TABLE_KEYS = ("name", "title", "paper", "rows", "columns", "samples", "gains", "metrics")


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
    _require_known(top, KEYS)
    arms = _each(top, "arms", parse_arm)
    listed = {name: top.inner("tasks").inner(name) for name in top.inner("tasks").values}
    shared = top.texts("test_on") if "test_on" in top.values else ()
    entries = {name: _entry(name, fields, data, shared) for name, fields in listed.items()}
    for name, entry in entries.items():
        unknown = [
            other for other in entry.test_on if other not in entries or entries[other].test is None
        ]
        if unknown:
            where = listed[name] if "test_on" in listed[name].values else top
            raise where.fault(
                "test_on", f"names {unknown[0]!r}, which is no task with a test in this file"
            )
    experiment = Experiment(
        name=path.stem,
        title=top.get("title", path.stem),
        students=_each(top, "students", lambda name: find_preset(name, "student").name),
        teachers=_each(top, "teachers", lambda name: find_preset(name, "teacher").name),
        arms=arms,
        seeds=_seeds(top),
        entries=entries,
        recipe=_recipe(top),
        max_pixels=_positive(top, "max_pixels") if "max_pixels" in top.values else 0,
        tables=_layouts(top, path.stem),
        lora=_lora(top),
        latency=top.number("latency") if "latency" in top.values else LATENCY_QUESTIONS,
        settings=_settings(top, data),
    )
    if any(arm.is_lora for arm in arms):
        experiment = replace(experiment, settings=_settings_for_lora(experiment))
    _require_whole(top, experiment)
    return experiment


def _settings_for_lora(experiment: Experiment) -> dict[str, dict[str, str]]:
    """The settings of the file, and the rank of the adapters that each student must serve."""
    found = {name: {"MAX_LORA_RANK": str(experiment.lora.rank)} for name in experiment.students}
    for name, named in experiment.settings.items():
        found[name] = {**found.get(name, {}), **named}
    return found


def _require_known(fields: Fields, keys: Sequence[str]) -> None:
    for key in fields.values:
        if key not in keys:
            raise fields.fault(key, f"is an unknown key: use one of {', '.join(keys)}")


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
    """The recipe, with nothing held out: the test decides, and nothing is promoted."""
    name = top.get("recipe", "paper")
    if name not in RECIPES:
        raise top.fault("recipe", f"is {name!r}: choose one of {', '.join(RECIPES)}")
    recipe = replace(RECIPES[name], held_out=0.0)
    if "loss" in top.values:
        recipe = replace(recipe, loss=_loss(top))
    if "questions" in top.values:
        recipe = replace(recipe, questions_per_image=_positive(top, "questions"))
    return recipe


def _loss(top: Fields) -> str:
    """The loss; "" leaves the choice to each student's preset."""
    found = top.get("loss")
    if found not in LOSSES:
        raise top.fault("loss", f"is {found!r}: choose one of {', '.join(LOSSES)}")
    return LOSSES[found]


def _positive(fields: Fields, key: str) -> int:
    found = fields.number(key)
    if found < 1:
        raise fields.fault(key, f"is {found}: give 1 or more")
    return found


def _lora(top: Fields) -> Lora:
    if "lora" not in top.values:
        return LORA
    fields = top.inner("lora")
    _require_known(fields, ("rank", "learning_rate"))
    return Lora(_positive(fields, "rank"), fields.real("learning_rate"))


def _entry(name: str, fields: Fields, data: Path, test_on: tuple[str, ...]) -> TaskEntry:
    """A task of the file. `test_on`: the default for tasks that set none."""
    _require_known(fields, TASK_KEYS)
    task = fields.get("task", name)
    if task not in TASKS:
        raise fields.fault("task", f"is {task!r}: choose one of {', '.join(TASKS)}")
    pool = fields.get("pool")
    where = pool if not pool or is_url(pool) else str(data / pool)
    is_plain = where and not is_url(where) and not any(mark in where for mark in "*?[{")
    if is_plain and not Path(where).exists():
        raise fields.fault(
            "pool",
            f"is {pool!r}, and there is no {where}: put the images there, or give another --data",
        )
    sets = {
        key: _set(fields.inner(key), data) for key in ("test", "labels") if key in fields.values
    }
    limit = fields.number("limit") if "limit" in fields.values else 0
    itself = (name,) if "test" in sets else ()
    tests = fields.texts("test_on") if "test_on" in fields.values else test_on or itself
    return TaskEntry(name, TASKS[task], where, limit, sets.get("test"), sets.get("labels"), tests)


def _set(fields: Fields, data: Path) -> LabelledSet:
    _require_known(fields, SET_KEYS)
    images = data / fields.get("images") if "images" in fields.values else None
    if images is not None and not images.is_dir():
        raise fields.fault(
            "images", f"is {fields.get('images')!r}, and there is no folder {images}"
        )
    datasets = []
    for file in fields.texts("files"):
        try:
            datasets.append(
                open_dataset(data / file, fields.get("format"), images, fields.get("split"))
            )
        except (NotFound, InvalidInput) as error:
            raise fields.fault("files", f"names {file!r}: {error}") from error
    return LabelledSet(tuple(datasets), fields.number("limit") if "limit" in fields.values else 0)


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
    _require_known(fields, TABLE_KEYS)
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
