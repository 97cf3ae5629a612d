"""The converters by architecture, and the conversion of a folder: whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from services.core.errors import InvalidInput, MpaError
from services.core.presets import PRESETS
from services.engines.conversion import internvl, shards, tinyllava
from services.engines.conversion.converted import Converted, read_json
from services.engines.conversion.shards import ShardReader, ShardWriter
from services.engines.tensors import check_tensors
from services.files import written_whole

CONVERTERS: dict[str, Callable[[Path], Converted]] = {
    "InternVLChatModel": internvl.plan,
    tinyllava.ARCHITECTURE: tinyllava.plan,
}
"""Converters by the class that a published config.json names."""

Report = Callable[[int, int], None]
"""Receives the number of bytes that are converted, and of all bytes."""


def convert(source: str, out: Path, report: Report = lambda done, total: None) -> str:
    """Convert a folder, a hub id or a preset's checkpoint into a new folder `out`.

    Returns the name of its new class. Raises NotFound: no such model. Raises InvalidInput: it needs
    no conversion, has no converter, or is incomplete or damaged. Raises MpaError: `out` exists, or
    the disk is full.
    """
    if out.exists():
        raise MpaError(f"{out} already exists: delete it or name another", reason="EXISTS")
    folder = shards.find(_published(source))
    plan = _converter(folder)
    try:
        converted = plan(folder)
    except KeyError as error:
        raise InvalidInput(
            f"a configuration in {folder} has no {error}: download the checkpoint again",
            field="source",
        ) from error
    weights = ShardReader.of(folder, *converted.further)
    _require_room(out, weights.size)
    with written_whole(out) as unfinished:
        converted.config.save_pretrained(unfinished)
        converted.generation.save_pretrained(unfinished)
        converted.processor.save_pretrained(unfinished)
        writer = ShardWriter(unfinished)
        done = 0
        for name, tensor in weights:
            for new_name, new_tensor in converted.tensors(name, tensor):
                writer.add(new_name, new_tensor)
            done += tensor.nbytes
            report(done, weights.size)
        writer.finish()
        check_tensors(unfinished)
    return str(converted.config.architectures[0])


def _published(source: str) -> str:
    """Folder or hub id. Raises InvalidInput: a preset that is served and trained as published."""
    if source not in PRESETS:
        return source
    preset = PRESETS[source]
    if not preset.conversion:
        raise InvalidInput(
            f"the preset {source} needs no conversion: name it by "
            f"MPA_{preset.roles[0].upper()}_PRESET={source}",
            field="source",
        )
    return preset.model


def _converter(folder: Path) -> Callable[[Path], Converted]:
    """Raises InvalidInput: no converter knows the checkpoint's class."""
    named = read_json(folder / "config.json").get("architectures") or ["an unnamed class"]
    if named[0] not in CONVERTERS:
        raise InvalidInput(
            f"{folder} is of {named[0]}, which can't be converted; known: "
            f"{', '.join(CONVERTERS)}. A class of transformers' own needs no conversion: name the "
            "folder by MPA_STUDENT_MODEL",
            field="source",
            reason="ARCHITECTURE_UNKNOWN",
        )
    return CONVERTERS[named[0]]


def _require_room(out: Path, size: int) -> None:
    """Raises MpaError: the disk has too little free space for a copy of the weights."""
    existing = next(path for path in out.absolute().parents if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise MpaError(
            f"{out} needs {size / 2**30:.1f} GiB, but {existing} has {free / 2**30:.1f} GiB free: "
            "make room or name another disk, then repeat",
            reason="STORAGE_FAILED",
        )
