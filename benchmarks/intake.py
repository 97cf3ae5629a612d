"""Speed and cost of images that a service receives: time, memory, and stalls of the event loop.

    python -m benchmarks.intake

Photos of 12 megapixels and small PNGs, alone by `load_image` in this process, and many at once
through ImageReceiver, as in requests. Then 28 bytes of WebP that claim 100 megapixels (refused)
or 12.4 megapixels (accepted).
"""

from __future__ import annotations

import asyncio
import io
import itertools
import struct
import time
from collections.abc import Callable

import psutil
from PIL import Image

from services.core.errors import InvalidImage
from services.engines.images import load_image
from services.rpc.images import ImageReceiver

PHOTO, SMALL = (4032, 3024), (84, 84)


def photo(number: int) -> bytes:
    """3 MB of JPEG: soft shapes under grain."""
    shapes = Image.effect_noise((63, 47), 90 + number).resize(PHOTO, Image.Resampling.BICUBIC)
    grain = Image.effect_noise(PHOTO, 12)
    return _encoded(
        Image.merge("RGB", (Image.blend(shapes, grain, 0.3), shapes, grain)), "JPEG", quality=90
    )


def small(number: int) -> bytes:
    return _encoded(Image.new("RGB", SMALL, (number % 256, number // 256, 7)), "PNG")


def webp(width: int, height: int) -> bytes:
    """Lossless, of one color: no pixel takes a bit."""
    codes = int("0001" * 5, 2) << 43
    bits = codes | (height - 1) << 22 | (width - 1) << 8 | 0x2F
    return (
        b"RIFF"
        + struct.pack("<I", 20)
        + b"WEBPVP8L"
        + struct.pack("<I", 8)
        + bits.to_bytes(8, "little")
    )


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def alone(name: str, data: bytes, times: int) -> None:
    started = time.process_time()
    for _ in range(times):
        load_image(data)
    print(f"{name}, alone: {(time.process_time() - started) / times * 1e3:.2f} ms of a core")


async def together(name: str, draw: Callable[[int], bytes], count: int) -> None:
    receiver = ImageReceiver()
    files = [draw(number) for number in range(count)]
    longest_s = most_mib = 0.0
    processes = psutil.Process()

    async def watch() -> None:
        nonlocal longest_s, most_mib
        for turn in itertools.count():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, time.monotonic() - before - 0.01)
            if turn % 50 == 0:
                most_mib = max(most_mib, _mib(processes))

    async def receive(data: bytes) -> str:
        try:
            await receiver.receive_bytes(data)
        except InvalidImage as error:
            return error.reason
        return "taken"

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    longest_s = 0.0
    before_mib = _mib(processes)
    started = time.monotonic()
    cpu = _cpu_s(processes)
    outcomes = await asyncio.gather(*(receive(data) for data in files))
    seconds = time.monotonic() - started
    cpu = _cpu_s(processes) - cpu
    await asyncio.sleep(0.1)
    watcher.cancel()
    most_mib = max(most_mib, _mib(processes))
    print(
        f"{name}, {count} at once: {seconds:.2f} s ({count / seconds:.1f}/s), "
        f"{cpu / count * 1e3:.2f} ms of a core each, {most_mib - before_mib:.0f} MiB more, "
        f"loop held {longest_s * 1e3:.0f} ms, {', '.join(sorted(set(outcomes)))}"
    )


def _mib(process: psutil.Process) -> float:
    """Resident MiB of the process and its children."""
    return sum(one.memory_info().rss for one in (process, *process.children())) / 2**20


def _cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the process and its living children."""
    times = [one.cpu_times() for one in (process, *process.children())]
    return sum(one.user + one.system for one in times)


async def main() -> None:
    alone("photo", photo(0), 10)
    alone("small", small(0), 1000)
    await together("photos", photo, 2)  # starts the decoders
    await together("photos", photo, 32)
    await together("small", small, 2000)
    await together(
        "WebP of 28 bytes and 100 megapixels", lambda number: webp(10_000 - number, 10_000), 8
    )
    await together(
        "WebP of 28 bytes and 12.4 megapixels", lambda number: webp(4_000 - number, 3_100), 8
    )


if __name__ == "__main__":
    asyncio.run(main())
