"""The pool of unlabeled images: which files they are, and reading them in order, a few ahead, in threads."""

from __future__ import annotations

import asyncio
import glob
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.rpc.client import Picture

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"])
READ_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Pool:
    """`paths` are relative to `root` and sorted. `ignored`: other files found there, labels among them, never opened."""

    root: Path
    paths: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is no usable image. `sha256` "" where it couldn't be read at all."""

    path: str
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Accepted:
    path: str
    picture: Picture


def find_images(images: str, limit: int = 0) -> Pool:
    """A folder (searched through), a glob, or one file. Raises NotFound where there is nothing of the name or no image."""
    where = Path(images)
    if where.is_dir():
        root, files = where, (Path(folder, name) for folder, _, names in os.walk(where) for name in names)
    elif where.exists():
        return Pool(where.parent, (where.name,), ())
    elif glob.has_magic(images):
        root = _fixed_part(where)
        files = (Path(name) for name in glob.iglob(images, recursive=True) if not Path(name).is_dir())  # noqa: PTH207 (absolute)
    else:
        raise NotFound(f"there is no file or folder {images}: name a folder of images, a glob or one image")
    paths, ignored = _sort_out(root, files)
    if not paths:
        beside = f" (only {len(ignored)} other files, such as {ignored[0]})" if ignored else ""
        raise NotFound(f"there are no images in {images}{beside}: name a folder of {', '.join(sorted(IMAGE_SUFFIXES))}")
    return Pool(root, tuple(paths[: limit or None]), tuple(ignored))


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first wildcard."""
    parts = pattern.parts
    return Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])


def _sort_out(root: Path, files: Iterable[Path]) -> tuple[list[str], list[str]]:
    paths: list[str] = []
    ignored: list[str] = []
    for file in files:
        if file.name.startswith("."):
            continue
        is_image = file.suffix.lower() in IMAGE_SUFFIXES or not file.suffix
        (paths if is_image else ignored).append(file.relative_to(root).as_posix())
    return sorted(paths), sorted(ignored)


def read_image(root: Path, path: str) -> Accepted | Refused:
    """Reads and checks one file; never raises for what is wrong with it. Its bytes travel as they are."""
    from services.engines.images import MAX_BYTES, load_image, sha256

    file = root / path
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            return Refused(path, "", "IMAGE_OUTSIDE_ROOT", f"{path} leads out of {root}")
        if not file.is_file():
            return Refused(path, "", "IMAGE_UNREADABLE", f"{path} is not a regular file")
        if file.stat().st_size > MAX_BYTES:
            return Refused(path, "", "IMAGE_TOO_LARGE", f"{path} has more than {MAX_BYTES:,} bytes")
        data = file.read_bytes()
    except (OSError, RuntimeError) as error:
        return Refused(path, "", "IMAGE_UNREADABLE", f"{path} can't be read: {error}")
    try:
        return Accepted(path, Picture(load_image(data).sha256, data))
    except InvalidImage as error:
        return Refused(path, sha256(data), error.reason, str(error))


async def read_images(root: Path, paths: Iterable[str], executor: Executor) -> AsyncIterator[Accepted | Refused]:
    """In the order of `paths`, at most READ_AHEAD of them in memory."""
    loop = asyncio.get_running_loop()
    ahead: deque[asyncio.Future[Accepted | Refused]] = deque()
    for path in paths:
        ahead.append(loop.run_in_executor(executor, read_image, root, path))
        if len(ahead) == READ_AHEAD:
            yield await ahead.popleft()
    while ahead:
        yield await ahead.popleft()


def read_again(root: Path, path: str, image_sha256: str) -> Picture:
    """An image that was accepted before. Raises InvalidInput where the file is gone or another by now."""
    found = read_image(root, path)
    if isinstance(found, Refused):
        raise InvalidInput(f"{root / path} was an image earlier in this run and is none now: {found.detail}")
    if found.picture.sha256 != image_sha256:
        raise InvalidInput(f"{root / path} has changed since this run saw it: put it back, or start a new run")
    return found.picture
