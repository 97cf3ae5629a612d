"""Files that are complete or absent, even after a crash."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.errors import MpaError

_UNFINISHED = re.compile(r"\..+\.\d+(-[0-9a-f]{8})?")
"""Names of unfinished files and folders. Earlier releases had no second number."""


def unfinished_path(path: Path) -> Path:
    """Path for writing a new `path`; no other thread or process gets the same one."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def sweep(folder: Path) -> list[Path]:
    """Removes unfinished files of killed writers anywhere in `folder`, and returns them.

    Only for the folder's single owner.
    """
    left = []
    for above, folders, files in os.walk(folder):
        left += [Path(above, name) for name in (*folders, *files) if _UNFINISHED.fullmatch(name)]
    for path in left:
        _remove(path)
    return left


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o666) -> None:
    """Writes a file next to `path`, flushes it to disk, renames it to `path`.

    `mode`: access rights, which the umask limits. Raises MpaError: disk full, not allowed.
    """
    content = data.encode() if isinstance(data, str) else data
    unfinished = unfinished_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise MpaError(
            f"{path} can't be written ({error.strerror}): make room or grant access, then repeat",
            reason="STORAGE_FAILED",
        ) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Path for a large file or a folder, which becomes `path` at the end.

    An exception removes it. Raises MpaError: `path` exists, disk full, not allowed.
    """
    if path.exists():
        raise MpaError(f"{path} already exists: delete it or name another", reason="EXISTS")
    unfinished = unfinished_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.sync()  # a folder may hold a million files: one flush for all of them
        unfinished.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(unfinished)
        why = error.strerror or str(error)
        raise MpaError(
            f"{path} can't be written ({why}): make room or grant access, then repeat",
            reason="STORAGE_FAILED",
        ) from error
    except BaseException:
        _remove(unfinished)
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


def sync_files(folder: Path) -> None:
    """Makes all files in `folder` and its subfolders durable."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as opened:
                os.fsync(opened.fileno())
