"""An image as it travels -> an image ready for a model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from protos.mpa.v1 import types_pb2
from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.engines.images import ImageCache, LoadedImage

_INLINE_BYTES = 32 * 1024
"""Files up to this size are decoded on the event loop: cheaper than the trip to a thread."""


class ImageReceiver:
    """Resolves `mpa.v1.Image`: bytes, the hash of bytes sent before, or a path below `root`."""

    def __init__(self, root: Path | None = None, cache: ImageCache | None = None) -> None:
        self._root = root.resolve() if root else None
        self._cache = cache or ImageCache()

    async def receive(self, image: types_pb2.Image) -> LoadedImage:
        """Raises InvalidImage, ImageUnknown, InvalidInput (a path outside the root), NotFound."""
        source = image.WhichOneof("source")
        if source == "data":
            return await self.receive_bytes(image.data)
        if source == "sha256":
            return self._cache.get(image.sha256)
        if source == "uri":
            return await self.receive_bytes(await asyncio.to_thread(self._read, image.uri))
        raise InvalidInput("the request has no image: set data, sha256 or uri", field="image", reason="IMAGE_MISSING")

    async def receive_bytes(self, data: bytes) -> LoadedImage:
        if len(data) <= _INLINE_BYTES:
            return self._cache.add(data)
        return await asyncio.to_thread(self._cache.add, data)

    def _read(self, uri: str) -> bytes:
        if self._root is None:
            raise InvalidInput(
                "this service reads no image paths: send the bytes, or start it with an image root", field="image.uri"
            )
        path = (self._root / uri.removeprefix("file://")).resolve()
        if not path.is_relative_to(self._root):
            raise InvalidImage(f"image path {uri!r} leaves the allowed root", reason="IMAGE_OUTSIDE_ROOT")
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no image {uri!r} below the allowed root") from error
        except OSError as error:
            raise InvalidImage(f"image {uri!r} can't be read: {error.strerror}") from error
