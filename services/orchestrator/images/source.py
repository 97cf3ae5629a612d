"""What every source of images offers: the images in a fixed order, and any one of them again by its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from posixpath import basename, splitext
from typing import Protocol

from services.core.errors import InvalidImage
from services.orchestrator.images.store import Store

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff"])
IMAGE_COLUMNS = (
    "image",
    "image_path",
    "file_name",
    "filename",
    "file",
    "path",
    "filepath",
    "file_path",
    "img",
    "img_path",
    "url",
)
"""What the column with the images is called, the likeliest first."""
NAMED = 3

IsDone = Callable[[str], bool]
"""Whether the image of a key needs no reading. Called in the thread that walks."""


@dataclass(frozen=True, slots=True)
class ImageItem:
    """An image of a source. `load` reads it, in any thread; None where it needs no reading. `load` raises InvalidImage."""

    key: str
    load: Callable[[], bytes] | None


@dataclass(slots=True)
class Ignored:
    """What lies beside the images and is never read: labels, if there are any, are among it."""

    files: int = 0
    example: str = ""
    columns: tuple[str, ...] = ()
    folders: set[str] = field(default_factory=set)

    def add_file(self, name: str) -> None:
        self.files += 1
        self.example = self.example or name

    def __str__(self) -> str:
        """ "" where there is nothing."""
        beside = (
            f"{self.files:,} files that are not images (such as {self.example})"
            if self.files
            else ""
        )
        columns = f"columns {', '.join(self.columns)}" if self.columns else ""
        folders = (
            f"the names of {len(self.folders):,} folders ({_some(sorted(self.folders))})"
            if self.folders
            else ""
        )
        return "; ".join(part for part in (beside, columns, folders) if part)


def _some(names: list[str]) -> str:
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


class Source(Protocol):
    """`ignored` is complete after `total` where that returns a number, else after the walk."""

    store: Store

    @property
    def ignored(self) -> Ignored: ...

    def total(self) -> int | None:
        """How many images there are, where that can be told without reading much. Raises NotFound where there are none."""

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        """Every image, always in the same order, never more than a few in memory. Raises Unavailable, NotFound."""

    def read(self, key: str) -> bytes:
        """One image, from any thread. Raises InvalidImage where there is no usable one of that key, Unavailable."""


def is_image(name: str) -> bool:
    """By its suffix; a name without one may be an image's."""
    suffix = splitext(basename(name))[1].lower()
    return suffix in IMAGE_SUFFIXES or not suffix


def is_hidden(name: str) -> bool:
    """Also what macOS puts into archives."""
    return basename(name).startswith(".") or "__MACOSX" in name


def held(key: str, data: bytes) -> ImageItem:
    """An image that has been read on the way."""
    return ImageItem(key, lambda: data)


def refused(key: str, error: InvalidImage) -> ImageItem:
    def load() -> bytes:
        raise error

    return ImageItem(key, load)


def damaged(file: str, error: Exception) -> ImageItem:
    """Stands for the images of a container that can't be read on; those before it are in use."""
    return refused(
        file, InvalidImage(f"{file} is damaged or cut off: {error}", reason="SOURCE_DAMAGED")
    )
