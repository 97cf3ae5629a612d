"""Recent images of a process, by hash: the next question need not send or decode them again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from services.core.errors import ImageUnknown
from services.engines.images import LoadedImage


class ImageCache:
    """Holds at most `capacity_bytes` of pixels and files. Safe for several threads.

    The least recently used image is dropped first. A larger one than the cache is not kept.
    """

    def __init__(self, capacity_bytes: int = 256 * 2**20) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._images: OrderedDict[str, LoadedImage] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._bytes

    def keep(self, image: LoadedImage) -> LoadedImage:
        """Keeps an image; returns the one that is already kept, if any."""
        with self._lock:
            if known := self._images.get(image.sha256):
                self._images.move_to_end(image.sha256)
                return known
            if image.nbytes <= self._capacity_bytes:
                self._images[image.sha256] = image
                self._bytes += image.nbytes
            while self._bytes > self._capacity_bytes:
                self._bytes -= self._images.popitem(last=False)[1].nbytes
            return image

    def drop_oldest(self) -> bool:
        """Drops the least recently used image. False: there is none."""
        with self._lock:
            if not self._images:
                return False
            self._bytes -= self._images.popitem(last=False)[1].nbytes
            return True

    def find(self, sha256: str) -> LoadedImage | None:
        with self._lock:
            if image := self._images.get(sha256):
                self._images.move_to_end(sha256)
            return image

    def get(self, sha256: str) -> LoadedImage:
        """Finds an image. Raises ImageUnknown: the caller must send the bytes."""
        if image := self.find(sha256):
            return image
        raise ImageUnknown(f"no image with sha256 {sha256[:64]!r} is held here: send its bytes")
