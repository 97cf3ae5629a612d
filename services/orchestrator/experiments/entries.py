"""Reading the tasks of an experiment's file, and the draw that they are measured on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.core.tasks import TASKS
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.experiments.experiment import DEV, DRAWS, TEST, LabelledSet, TaskEntry
from services.orchestrator.images.store import is_url
from services.orchestrator.steps.anchoring import read_questions

TASK_KEYS = ("task", "pool", "limit", *DRAWS, "labels", "test_on", "anchor_questions")
SET_KEYS = ("files", "images", "split", "format", "limit")


def read_entries(top: Fields, data: Path) -> dict[str, TaskEntry]:
    """The tasks by name. Raises InvalidInput that names the key."""
    listed = {name: top.inner("tasks").inner(name) for name in top.inner("tasks").values}
    draw = _draw(top, listed)
    shared = top.texts("test_on") if "test_on" in top.values else ()
    entries = {name: _entry(name, fields, data, draw, shared) for name, fields in listed.items()}
    for name, entry in entries.items():
        unknown = [
            other for other in entry.test_on if other not in entries or entries[other].test is None
        ]
        if unknown:
            where = listed[name] if "test_on" in listed[name].values else top
            raise where.fault(
                "test_on", f"names {unknown[0]!r}, which is no task with a test in this file"
            )
    return entries


def _draw(top: Fields, listed: Mapping[str, Fields]) -> str:
    """The draw that is measured on: dev, unless no task has one."""
    has_dev = any(DEV in fields.values for fields in listed.values())
    draw = top.get("draw", DEV if has_dev else TEST)
    if draw not in DRAWS:
        raise top.fault("draw", f"is {draw!r}: choose one of {', '.join(DRAWS)}")
    for fields in listed.values():
        if draw not in fields.values and any(other in fields.values for other in DRAWS):
            raise fields.fault(
                draw, f"is missing, and this experiment is measured on the {draw} draw"
            )
    return draw


def _entry(name: str, fields: Fields, data: Path, draw: str, test_on: tuple[str, ...]) -> TaskEntry:
    """A task of the file. `test_on`: the default for tasks that set none."""
    fields.require_known(TASK_KEYS)
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
        key: _set(fields.inner(key), data) for key in (*DRAWS, "labels") if key in fields.values
    }
    itself = (name,) if draw in sets else ()
    return TaskEntry(
        name,
        TASKS[task],
        pool=where,
        pool_name=pool,
        limit=fields.number("limit") if "limit" in fields.values else 0,
        test=sets.get(draw),
        labels=sets.get("labels"),
        test_on=fields.texts("test_on") if "test_on" in fields.values else test_on or itself,
        draw=draw,
        unseen=tuple(sets[key] for key in DRAWS if key in sets),
        anchor_questions=_questions(fields, data),
    )


def _questions(fields: Fields, data: Path) -> tuple[str, ...]:
    if "anchor_questions" not in fields.values:
        return ()
    file = fields.text("anchor_questions")
    try:
        return read_questions(data / file)
    except (NotFound, InvalidInput) as error:
        raise fields.fault("anchor_questions", f"names {file!r}: {error}") from error


def _set(fields: Fields, data: Path) -> LabelledSet:
    fields.require_known(SET_KEYS)
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
