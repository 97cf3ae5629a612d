"""Images in zip archives. The key is FILE#MEMBER; a table of contents is read once and kept."""

from __future__ import annotations

import lzma
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial

from services.core.errors import InvalidImage, NotFound
from services.engines.images import MAX_BYTES
from services.orchestrator.images.source import (
    Ignored,
    ImageItem,
    IsDone,
    damaged,
    is_hidden,
    is_image,
)
from services.orchestrator.images.store import SMALL_BLOCK_BYTES, Store, outside, too_large

SUFFIXES = (".zip",)
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
)


class Zips:
    """The images of `files`, in order, each in the order of its table of contents."""

    def __init__(self, store: Store, files: Sequence[str]) -> None:
        self.store = store
        self._files = files
        self.ignored = Ignored()
        self._opening = threading.Lock()
        self._archive: tuple[str, zipfile.ZipFile] | None = None

    def total(self) -> int | None:
        return None if self.store.is_far else sum(1 for _ in self.walk(lambda _: True))

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        self.ignored = Ignored()
        found = False
        for file in self._files:
            try:
                archive = self._open(file)
            except DAMAGE as error:
                found = True
                yield damaged(file, error)
                continue
            for info in archive.infolist():
                if info.filename.endswith("/") or is_hidden(info.filename):
                    continue
                key = f"{file}#{info.filename}"
                if not is_image(info.filename):
                    self.ignored.add_file(key)
                    continue
                found = True
                yield ImageItem(key, None if is_done(key) else partial(self.read, key))
        if not found:
            raise NotFound(
                f"there are no images in {self.store.at(self._files[0])}: "
                f"{self.ignored or 'it is empty'}"
            )

    def read(self, key: str) -> bytes:
        file, _, member = key.partition("#")
        if file not in self._files:
            raise outside(key, self.store)
        try:
            archive = self._open(file)
            if archive.getinfo(member).file_size > MAX_BYTES:
                raise too_large(key)
            return archive.read(member)
        except (*DAMAGE, KeyError, NotFound) as error:
            raise InvalidImage(f"{key} can't be read: {error}") from error
        except RuntimeError as error:  # encrypted, or closed since another file's turn came
            raise InvalidImage(f"{key} can't be read: {error}") from error

    def _open(self, file: str) -> zipfile.ZipFile:
        """Open an archive and keep it until another is opened; a read in progress holds it open."""
        with self._opening:
            if self._archive is None or self._archive[0] != file:
                opened = self.store.open(file, block_bytes=SMALL_BLOCK_BYTES)
                self._archive = (file, zipfile.ZipFile(opened))
            return self._archive[1]
