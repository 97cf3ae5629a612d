"""Bounded memory for the images of all requests: a file of 28 bytes may have 50 MB of pixels."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from services.core.errors import Overloaded
from services.engines.images import LoadedImage


class ImageMemory:
    """Counts images from before they are decoded until no request or cache holds them.

    For one thread; images may be freed in any.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._taken = 0
        self._ended: deque[int] = deque()

    @property
    def taken_bytes(self) -> int:
        while self._ended:
            self._taken -= self._ended.popleft()
        return self._taken

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be taken."""
        return not self.taken_bytes or self._taken + size <= self._capacity_bytes

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Holds `size` bytes. One image is always allowed. Raises Overloaded."""
        if not self.has_room(size):
            raise Overloaded(
                f"the images of requests under way already take {self._taken >> 20:,} of "
                f"{self._capacity_bytes >> 20:,} MiB: send fewer at a time, or smaller ones",
                limit="image_memory",
            )
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size

    def count(self, image: LoadedImage) -> None:
        """Counts an image until it is freed."""
        self._taken += image.nbytes
        # An image may be freed at any moment in any thread: appending is atomic, a sum is not.
        weakref.finalize(image, self._ended.append, image.nbytes).atexit = False
