"""Encoded images for the tests, good and bad."""

import io
import struct
import zlib

from PIL import Image


def png(color="red", size=(32, 32), mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG", **options)
    return buffer.getvalue()


def numbered_png(number):
    """A different image for every number."""
    return png(((number * 37) % 256, (number * 91) % 256, number % 256), size=(16 + number // 256, 16))


def bomb_png(width=50_000, height=50_000):
    """A PNG whose header promises width x height pixels; a few bytes long."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
