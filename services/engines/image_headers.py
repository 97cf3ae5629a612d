"""Headers of image files, read without decoding, in a time bounded by the file's size."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

PLAIN_BYTES = 32 * 1024
PLAIN_PIXELS = 2**17
_PLAIN_SCANS = 20
_PLAIN_CHUNKS = 64
_PLAIN_TEXT_BYTES = 256

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNKS = frozenset(b"IHDR PLTE tRNS IDAT IEND gAMA cHRM sRGB sBIT bKGD pHYs tIME tEXt".split())
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The JPEG markers that state width and height."""
_TABLES = frozenset((0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE))
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
"""Start of a segment, as libjpeg finds it: stuffed zeros and restarts belong to a scan."""
_MARKERS_READ = 4096
"""Segments of a JPEG that are read; after that, all that looks like a scan counts as one."""


@dataclass(frozen=True, slots=True)
class Header:
    """Size of an image, and the cost of decoding it."""

    width: int
    height: int
    is_plain: bool
    """Whether the file only has parts whose cost is bounded by its size."""
    scans: int = 1
    """Largest number of passes over all pixels."""

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(data: bytes) -> Header | None:
    """Header of a PNG, JPEG or WebP file; None for others, and for files cut off before it."""
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        pass
    return None


def is_cheap(data: bytes) -> bool:
    """Whether decoding takes a few milliseconds at most, even for a hostile file."""
    header = read_header(data) if len(data) <= PLAIN_BYTES else None
    return header is not None and header.is_plain and header.pixels <= PLAIN_PIXELS


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    return Header(width, height, len(data) <= PLAIN_BYTES and _has_plain_chunks(data))


def _has_plain_chunks(data: bytes) -> bool:
    """Whether there is no compressed text or profile, no EXIF, no animation."""
    at = len(_PNG)
    for _ in range(_PLAIN_CHUNKS):
        if at >= len(data):
            return True
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in _CHUNKS or (kind == b"tEXt" and length > _PLAIN_TEXT_BYTES):
            return False
        at += 12 + length
    return False


def _jpeg(data: bytes) -> Header | None:
    """Counts scans up to the image's end as libjpeg finds it: phones may append a video."""
    size = None
    is_plain = True
    scans = 0
    at = 2
    for _ in range(_MARKERS_READ):
        found = _MARKER.search(data, at)
        if found is None or data[found.end() - 1] == _END_OF_IMAGE or found.end() + 2 > len(data):
            break
        at = found.end()
        marker = data[at - 1]
        if marker == _START_OF_SCAN:
            scans += 1
        elif marker in _FRAMES and not scans:
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
        elif marker not in _TABLES:
            is_plain = False
        at += max(2, struct.unpack_from(">H", data, at)[0])
    else:
        scans += data.count(bytes((0xFF, _START_OF_SCAN)), at)
    if size is None:
        return None
    return Header(*size, is_plain=is_plain and scans <= _PLAIN_SCANS, scans=scans)


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Header(width, height, is_plain=False)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, is_plain=True)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF, is_plain=True)
    return None
