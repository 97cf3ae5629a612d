"""Images drawn from a source, for the pilot of a quote."""

from __future__ import annotations

from collections.abc import Iterator

from services.orchestrator.images.source import Ignored, ImageItem, IsDone, Source


class DrawnImages:
    """The images of `source` with one of the `keys`, in its order."""

    def __init__(self, source: Source, keys: frozenset[str]) -> None:
        self._source = source
        self._keys = keys
        self.store = source.store
        self.ignored = Ignored()

    def total(self) -> int | None:
        return len(self._keys)

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        found = self._source.walk(lambda key: key not in self._keys or is_done(key))
        return (item for item in found if item.key in self._keys)

    def read(self, key: str) -> bytes:
        return self._source.read(key)
