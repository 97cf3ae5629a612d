"""From an image on the wire to an image ready for a model."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from protos.mpa.v1 import types_pb2
from services import metrics, tracing
from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.engines.image_cache import ImageCache
from services.engines.image_decoder import DECODER, ImageDecoder
from services.engines.image_headers import PLAIN_BYTES, is_cheap
from services.engines.image_memory import ImageMemory
from services.engines.images import (
    FORMATS,
    MAX_BYTES,
    LoadedImage,
    check_bytes,
    decode,
    most_bytes,
    sha256,
)
from services.environment import Environment
from services.rpc.access.caller import the_caller
from services.rpc.shortening import shortened

_QUOTED_BYTES = 200
LEAST_MEMORY_GIB, MEMORY_SHARE = 4.0, 0.25
CACHE_MIB, MOST_CACHED = 1024.0, 0.25
"""Default size of the cache, and the largest share of the images' memory that it takes then."""


def default_memory_gib() -> float:
    """A share of this machine's memory that holds the batches an engine computes and prepares."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_MEMORY_GIB, total * MEMORY_SHARE / 2**30)


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Images that requests may send.

    `root`: the folder below which requests may name images by path; None allows only bytes.
    """

    root: Path | None = None
    takes_tiff: bool = False
    memory_gib: float = field(default_factory=default_memory_gib)
    """GiB for files and pixels of the images in use; requests beyond it are refused."""
    cache_mib: float | None = None
    """MiB of them for recent images, which callers may name by hash; None: CACHE_MIB or less."""

    @property
    def cache_bytes(self) -> int:
        mib = self.cache_mib
        if mib is None:
            mib = min(CACHE_MIB, self.memory_gib * 1024 * MOST_CACHED)
        return int(mib * 2**20)

    @staticmethod
    def from_environment(env: Environment) -> ImageSettings:
        """Reads MPA_*_IMAGE_ROOT, _TIFF, _MEMORY_GIB and _CACHE_MIB. Raises InvalidInput."""
        memory_gib = env.number("IMAGE_MEMORY_GIB", default_memory_gib())
        if not memory_gib > 0:
            variable = env.prefix + "IMAGE_MEMORY_GIB"
            raise InvalidInput(f"{variable} is {memory_gib:g}: give more than 0", field=variable)
        usual = ImageSettings(env.path("IMAGE_ROOT"), env.flag("IMAGE_TIFF"), memory_gib)
        cache_mib = env.number("IMAGE_CACHE_MIB", usual.cache_bytes / 2**20)
        if not 0 <= cache_mib <= memory_gib * 1024:
            variable = env.prefix + "IMAGE_CACHE_MIB"
            raise InvalidInput(
                f"{variable} is {cache_mib:g}: give 0 or more, and at most the "
                f"{memory_gib * 1024:g} MiB of {env.prefix}IMAGE_MEMORY_GIB",
                field=variable,
            )
        return replace(usual, cache_mib=cache_mib)


class ImageReceiver:
    """Resolves `mpa.v1.Image`: bytes, the hash of bytes sent before, or a path below the root.

    Small and plain files are decoded at once, others in a separate process (image_decoder.py); the
    cache is used on the event loop alone. Simultaneous requests with the same image share one
    decoding, which is cancelled when none of them waits any longer.
    """

    def __init__(
        self, settings: ImageSettings | None = None, decoder: ImageDecoder = DECODER
    ) -> None:
        self._settings = settings or ImageSettings()
        self._decoder = decoder
        self._root = self._settings.root.resolve() if self._settings.root else None
        self._memory = ImageMemory(int(self._settings.memory_gib * 2**30))
        self._cache = ImageCache(self._settings.cache_bytes)
        self._under_way: dict[str, _Decoding] = {}

    @property
    def cached_bytes(self) -> int:
        """Bytes of recent images."""
        return self._cache.nbytes

    @property
    def memory_bytes(self) -> int:
        """Bytes of all images in memory, recent ones included."""
        return self._memory.taken_bytes

    @property
    def decoding(self) -> int:
        """Number of images that are being decoded or wait for it."""
        return len(self._under_way)

    async def receive(self, image: types_pb2.Image) -> LoadedImage:
        """Counts for the limits of the caller's key: bytes that were sent, pixels in any case.

        Raises InvalidImage, ImageUnknown, InvalidInput (no path here), NotFound, Overloaded.
        """
        allowance = the_caller().allowance
        allowance.spend(len(image.data), pixels=0)  # also if it is no image
        found = await self._find(image)
        allowance.spend(0, pixels=found.pixels.width * found.pixels.height)
        return found

    async def receive_sent(self, data: bytes) -> LoadedImage:
        """Bytes of an image that a caller has sent, counted in the same way.

        Raises InvalidImage, Overloaded.
        """
        return await self.receive(types_pb2.Image(data=data))

    async def _find(self, image: types_pb2.Image) -> LoadedImage:
        source = image.WhichOneof("source")
        with tracing.inner("image", source=source or "none"):
            return await self._receive(image, source)

    async def _receive(self, image: types_pb2.Image, source: str | None) -> LoadedImage:
        if source == "data":
            return await self.receive_bytes(image.data)
        if source == "sha256":
            return self._cached(image.sha256)
        if source == "uri":
            return await self.receive_bytes(await asyncio.to_thread(self._read, image.uri))
        raise InvalidInput(
            "the request has no image: set data, sha256 or uri",
            field="image",
            reason="IMAGE_MISSING",
        )

    async def receive_bytes(self, data: bytes) -> LoadedImage:
        """Raises InvalidImage, Overloaded."""
        check_bytes(data)
        is_small = len(data) <= PLAIN_BYTES
        name = sha256(data) if is_small else await asyncio.to_thread(sha256, data)
        if known := self._found(name):
            return known
        if is_cheap(data):
            with self._reserved(most_bytes(data)):
                return self._keep(LoadedImage(name, decode(data, FORMATS), data))
        decoding = self._under_way.get(name)
        if decoding is None:
            decoding = self._under_way[name] = _Decoding(asyncio.create_task(self._decode(data)))
        decoding.waiting += 1
        try:
            return await asyncio.shield(decoding.task)
        finally:
            decoding.waiting -= 1
            if not decoding.waiting:
                decoding.task.cancel()
                self._under_way.pop(name, None)

    async def _decode(self, data: bytes) -> LoadedImage:
        size = await asyncio.to_thread(most_bytes, data)
        with self._reserved(size):
            decoded = self._decoder.submit(data, takes_tiff=self._settings.takes_tiff)
            return self._keep(await asyncio.wrap_future(decoded))

    def _reserved(self, size: int) -> AbstractContextManager[None]:
        """Memory for an image; recent images make room for it. Raises Overloaded."""
        while not self._memory.has_room(size) and self._cache.drop_oldest():
            pass
        return self._memory.reserved(size)

    def _found(self, sha256: str) -> LoadedImage | None:
        found = self._cache.find(sha256)
        (metrics.CACHE_MISSES if found is None else metrics.CACHE_HITS).inc()
        return found

    def _cached(self, sha256: str) -> LoadedImage:
        """Raises ImageUnknown."""
        return self._found(sha256) or self._cache.get(sha256)

    def _keep(self, image: LoadedImage) -> LoadedImage:
        metrics.IMAGES_DECODED.inc()
        self._memory.count(image)
        return self._cache.keep(image)

    def _read(self, uri: str) -> bytes:
        """The file's bytes, at most MAX_BYTES + 1: enough for the check of its size."""
        if self._root is None:
            raise InvalidInput(
                "this service reads no image paths: send the bytes, or start it with an image root",
                field="image.uri",
            )
        quoted = repr(shortened(uri, _QUOTED_BYTES))
        try:
            path = (self._root / uri.removeprefix("file://")).resolve()
            if not path.is_relative_to(self._root):
                raise InvalidImage(
                    f"image path {quoted} leaves the allowed root", reason="IMAGE_OUTSIDE_ROOT"
                )
            with open(path, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InvalidImage(f"image {quoted} is not a regular file")
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFound(f"there is no image {quoted} below the allowed root") from error
        except OSError as error:
            raise InvalidImage(f"image {quoted} can't be read: {error.strerror}") from error
        except (RuntimeError, ValueError) as error:  # a loop of links, a NUL
            raise InvalidInput(
                f"image path {quoted} can't be a path: {error}", field="image.uri"
            ) from error


def _open_at_once(path: str, flags: int) -> int:
    """Opening a named pipe would otherwise wait for somebody to write into it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


@dataclass(slots=True)
class _Decoding:
    task: asyncio.Task[LoadedImage]
    waiting: int = 0
