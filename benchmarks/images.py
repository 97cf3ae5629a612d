"""Any number of different images that cost nothing to decode."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

SIDE = 8


def draw(folder: Path, images: int) -> None:
    """Writes different images of a few dozen bytes, none left in the system's cache."""
    folder.mkdir()
    paths = [folder / f"{number:07}.png" for number in range(images)]
    for number, path in enumerate(paths):
        path.write_bytes(tiny_png(number))
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def tiny_png(number: int) -> bytes:
    """SIDE x SIDE pixels of the colour `number`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    line = b"\0" + number.to_bytes(3, "big") * SIDE
    pixels = zlib.compress(line * SIDE, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
