"""Image files below a folder or matching a glob. The key is the path relative to the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.orchestrator.images.source import (
    IMAGE_SUFFIXES,
    Ignored,
    ImageItem,
    IsDone,
    is_hidden,
    is_image,
)
from services.orchestrator.images.store import Store, is_url, outside

FOLDERS_TOLD_APART = 1000

Names = Callable[[], Iterator[str]]


class Folder:
    """Image files. Folders of classes, and files of labels next to the images, are ignored.

    `names` lists the files in order, each time that it is called.
    """

    def __init__(self, store: Store, names: Names | None = None) -> None:
        self.store = store
        self._names = names or partial(names_below, store)
        self.ignored = Ignored()

    def total(self) -> int | None:
        return None if self.store.is_far else sum(1 for _ in self._images())

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        for key in self._images():
            yield ImageItem(key, None if is_done(key) else partial(self.read, key))

    def read(self, key: str) -> bytes:
        if is_url(key):  # the ledger of a stranger's run must not send this machine anywhere
            raise outside(key, self.store)
        if self.store.is_local:
            self._require_inside(key)
        return self.store.read(key)

    def _require_inside(self, key: str) -> None:
        try:
            is_inside = (self._root / key).resolve().is_relative_to(self._root)
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidImage(f"{key} can't be read: {error}") from error
        if not is_inside:
            raise outside(key, self.store)

    @cached_property
    def _root(self) -> Path:
        return Path(self.store.root).resolve()

    def _images(self) -> Iterator[str]:
        self.ignored = Ignored()
        found = 0
        for name in self._names():
            if is_hidden(name):
                continue
            if not is_image(name):
                self.ignored.add_file(name)
                continue
            folder, _, _ = name.rpartition("/")
            if folder and len(self.ignored.folders) < FOLDERS_TOLD_APART:
                self.ignored.folders.add(folder)
            found += 1
            yield name
        if not found:
            others = f" (only {self.ignored})" if str(self.ignored) else ""
            raise NotFound(
                f"there are no images in {self.store.url}{others}: "
                f"name a folder of {', '.join(sorted(IMAGE_SUFFIXES))}"
            )


def names_below(store: Store, folder: str = "") -> Iterator[str]:
    """Every file below `folder`, ordered by path; one folder's names are in memory at a time."""
    try:
        entries = sorted(
            f"{name}/" if is_folder else name for name, is_folder in store.folder(folder)
        )
    except InvalidInput:
        if not folder:
            raise
        yield f"{folder}(not to be listed).dir"
        return
    for entry in entries:
        if entry.endswith("/"):
            yield from names_below(store, folder + entry)
        else:
            yield folder + entry
