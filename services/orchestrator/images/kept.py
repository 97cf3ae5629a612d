"""Images that a run stores itself, read by key like the images of its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.core.errors import InvalidImage
from services.orchestrator.images.source import Ignored, ImageItem, IsDone, Source
from services.orchestrator.images.store import Store


class WithKept:
    """`source` plus the files in `folder`, whose keys are `prefix` and the file's name.

    A walk covers the source alone.
    """

    def __init__(self, source: Source, prefix: str, folder: Path) -> None:
        self._source = source
        self._prefix = prefix
        self._folder = folder
        self.store: Store = source.store

    @property
    def ignored(self) -> Ignored:
        return self._source.ignored

    def total(self) -> int | None:
        return self._source.total()

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        return self._source.walk(is_done)

    def read(self, key: str) -> bytes:
        if not key.startswith(self._prefix):
            return self._source.read(key)
        name = key.removeprefix(self._prefix)
        if "/" in name:
            raise InvalidImage(f"{key} leads out of {self._folder}", reason="IMAGE_OUTSIDE_ROOT")
        path = self._folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidImage(f"{path} can't be read: {error.strerror}") from error
