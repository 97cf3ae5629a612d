"""Images in tar files, as WebDataset stores them.

The key is FILE#MEMBER@OFFSET, so that an image is found again without an index. The other files of
an image (NAME.json, NAME.cls, NAME.txt) are ignored.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from services.core.errors import InvalidImage, NotFound
from services.engines.images import MAX_BYTES
from services.orchestrator.images.source import (
    Ignored,
    ImageItem,
    IsDone,
    damaged,
    held,
    is_hidden,
    is_image,
    refused,
)
from services.orchestrator.images.store import (
    BLOCK_BYTES,
    SMALL_BLOCK_BYTES,
    Store,
    outside,
    too_large,
)

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
COMPRESSIONS = {".gz": "gzip", ".tgz": "gzip", ".bz2": "bz2", ".xz": "xz"}
DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


class Tars:
    """The images of `files`, in order, read from start to end.

    Only the headers of images that need no reading are read, unless the file is compressed.
    """

    def __init__(self, store: Store, files: Sequence[str]) -> None:
        self.store = store
        self._files = files
        self.ignored = Ignored()

    def total(self) -> int | None:
        return None

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        self.ignored = Ignored()
        found = False
        for file in self._files:
            try:
                with self._open(file, BLOCK_BYTES) as opened:
                    for item in self._members(file, opened, is_done):
                        found = True
                        yield item
            except DAMAGE as error:
                found = True
                yield damaged(file, error)
        if not found:
            raise NotFound(
                f"there are no images in {self.store.at(self._files[0])}: "
                f"{self.ignored or 'it is empty'}"
            )

    def read(self, key: str) -> bytes:
        file, _, member = key.partition("#")
        if file not in self._files:
            raise outside(key, self.store)
        name, _, offset = member.rpartition("@")
        try:
            with self._open(file, SMALL_BLOCK_BYTES) as opened:
                opened.seek(int(offset))
                with tarfile.open(fileobj=opened, mode="r:") as tar:
                    found = tar.next()
                    if found is None or found.name != name:
                        raise InvalidImage(f"{file} holds another member than {name} at {offset}")
                    return _data(key, tar, found)
        except (*DAMAGE, NotFound) as error:
            raise InvalidImage(f"{key} can't be read: {error}") from error

    def _members(self, file: str, opened: IO[bytes], is_done: IsDone) -> Iterator[ImageItem]:
        with tarfile.open(fileobj=opened, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep a million of them
                if not member.isreg() or is_hidden(member.name):
                    continue
                if not is_image(member.name):
                    self.ignored.add_file(f"{file}#{member.name}")
                    continue
                key = f"{file}#{member.name}@{member.offset}"
                yield ImageItem(key, None) if is_done(key) else _read(key, tar, member)
            _require_end(opened, tar.offset)

    def _open(self, file: str, block_bytes: int) -> IO[bytes]:
        compression = COMPRESSIONS.get(PurePosixPath(file).suffix.lower())
        return self.store.open(file, block_bytes=block_bytes, compression=compression)


def _read(key: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> ImageItem:
    try:
        return held(key, _data(key, tar, member))
    except InvalidImage as error:
        return refused(key, error)


def _data(key: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        raise too_large(key)
    file = tar.extractfile(member)
    return file.read() if file else b""


def _require_end(opened: IO[bytes], offset: int) -> None:
    """Check for the end of the archive: tarfile also ends at a header that it can't read."""
    opened.seek(offset)
    if opened.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {offset:,}")
