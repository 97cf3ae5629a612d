"""The protocol of image sources: all images in a fixed order, and each of them by its key."""

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
"""Names of the column with the images, the likeliest first."""
NAMED = 3

IsDone = Callable[[str], bool]
"""Whether the image of a key needs no reading. Called in the thread that walks."""


@dataclass(frozen=True, slots=True)
class ImageItem:
    """An image of a source. `load` reads it in any thread; None if it needs no reading.

    `load` raises InvalidImage.
    """

    key: str
    load: Callable[[], bytes] | None


@dataclass(slots=True)
class Ignored:
    """Files and columns next to the images that are never read, labels among them."""

    files: int = 0
    example: str = ""
    columns: tuple[str, ...] = ()
    folders: set[str] = field(default_factory=set)

    def add_file(self, name: str) -> None:
        self.files += 1
        self.example = self.example or name

    def __str__(self) -> str:
        """All of it in words; "" if there is nothing."""
        parts = []
        if self.files:
            parts.append(f"{self.files:,} files that are not images (such as {self.example})")
        if self.columns:
            parts.append(f"columns {', '.join(self.columns)}")
        if self.folders:
            names = _some(sorted(self.folders))
            parts.append(f"the names of {len(self.folders):,} folders ({names})")
        return "; ".join(parts)


def _some(names: list[str]) -> str:
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


class Source(Protocol):
    """A source of images. `ignored` is complete after a walk, or after `total` if it counts."""

    store: Store

    @property
    def ignored(self) -> Ignored: ...

    def total(self) -> int | None:
        """The number of images; None if counting them means reading much.

        Raises NotFound if there are none.
        """

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        """Every image, always in the same order, never more than a few in memory.

        Raises Unavailable, NotFound.
        """

    def read(self, key: str) -> bytes:
        """One image, from any thread. Raises InvalidImage if it isn't usable, Unavailable."""


def is_image(name: str) -> bool:
    """Is it an image by its suffix? A name without a suffix may be one."""
    suffix = splitext(basename(name))[1].lower()
    return suffix in IMAGE_SUFFIXES or not suffix


def is_hidden(name: str) -> bool:
    """Is the file hidden, or one that macOS adds to archives?"""
    return basename(name).startswith(".") or "__MACOSX" in name


def held(key: str, data: bytes) -> ImageItem:
    """An image that has already been read."""
    return ImageItem(key, lambda: data)


def refused(key: str, error: InvalidImage) -> ImageItem:
    def load() -> bytes:
        raise error

    return ImageItem(key, load)


def damaged(file: str, error: Exception) -> ImageItem:
    """Stand-in for the rest of a damaged container; the images before it are used."""
    return refused(
        file, InvalidImage(f"{file} is damaged or cut off: {error}", reason="SOURCE_DAMAGED")
    )
