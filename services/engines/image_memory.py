"""The memory that images take while requests hold them, bounded as a whole: one of 28 bytes may be 50 MB of pixels."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from services.core.errors import Overloaded
from services.engines.images import LoadedImage


class ImageMemory:
    """Counts images from before they are decoded until the last request, or cache, has let go of them.

    Not to be called from several threads; images may end in any.
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

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Raises Overloaded. One image is always let in, however large."""
        if self.taken_bytes and self._taken + size > self._capacity_bytes:
            raise Overloaded(
                f"the images of requests under way take {self._taken >> 20:,} of {self._capacity_bytes >> 20:,} MiB already: "
                "send fewer at a time, or smaller ones"
            )
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size

    def count(self, image: LoadedImage) -> None:
        """From here to its end."""
        self._taken += image.nbytes
        # A deque, since an image may end amid any line of any thread: appending is atomic, a sum is not.
        weakref.finalize(image, self._ended.append, image.nbytes).atexit = False
