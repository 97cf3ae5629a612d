"""Images as data URLs: PNG, with the pixels that the student sees; JPEG for large images."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import OrderedDict

from PIL import Image

from services.engines.images import LoadedImage

MAX_SIDE = 2048
"""Pixels of the longer side. GPT-4o itself scales larger images down to this."""
MAX_PNG_BYTES = 1_000_000
ENCODING = f"png {MAX_PNG_BYTES}, jpeg 95, {MAX_SIDE}"
"""Name of the encoding of `data_url`: with another one, the model sees another picture."""
CAPACITY_BYTES = 256 * 2**20


def data_url(pixels: Image.Image) -> str:
    """Encodes RGB pixels."""
    if max(pixels.size) > MAX_SIDE:
        pixels = pixels.copy()
        pixels.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    kind = "png"
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    if buffer.tell() > MAX_PNG_BYTES:
        kind = "jpeg"
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG", quality=95, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


class DataUrls:
    """Encodes in threads, each image once; the oldest are dropped at CAPACITY_BYTES."""

    def __init__(self) -> None:
        self._urls: OrderedDict[str, asyncio.Task[str]] = OrderedDict()
        self._bytes = 0

    async def get(self, image: LoadedImage) -> str:
        task = self._urls.get(image.sha256)
        if task is None:
            task = self._urls[image.sha256] = asyncio.create_task(self._encode(image))
        self._urls.move_to_end(image.sha256)
        return await asyncio.shield(task)

    async def _encode(self, image: LoadedImage) -> str:
        try:
            url = await asyncio.to_thread(data_url, image.pixels)
        except BaseException:
            self._urls.pop(image.sha256, None)
            raise
        self._bytes += len(url)
        while self._bytes > CAPACITY_BYTES and (oldest := next(iter(self._urls.values()))).done():
            self._bytes -= len(oldest.result())
            self._urls.popitem(last=False)
        return url
