"""Files that are there whole or not at all, also after a crash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.errors import MpaError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes beside `path`, flushes to disk, renames over it. Raises MpaError: disk full, not allowed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise MpaError(
            f"{path} can't be written ({error.strerror}): make room or allow it, then repeat", reason="STORAGE_FAILED"
        ) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write a large file or a folder, which becomes `path` at the end; an exception leaves nothing of it.

    Raises MpaError: `path` exists, disk full, not allowed.
    """
    if path.exists():
        raise MpaError(f"{path} is there already: delete it or name another", reason="EXISTS")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.sync()  # a folder may hold a million files: one flush for all of them
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(beside)
        why = error.strerror or str(error)
        raise MpaError(
            f"{path} can't be written ({why}): make room or allow it, then repeat", reason="STORAGE_FAILED"
        ) from error
    except BaseException:
        _remove(beside)
        raise


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames within `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
