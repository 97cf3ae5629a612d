"""Encoded images for the tests, good and bad."""

import io
import random
import struct
import zlib

from PIL import Image

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Passes of an interlaced PNG: the first column and row, and the steps."""


def png(color="red", size=(32, 32), mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG", **options)
    return buffer.getvalue()


def numbered_png(number):
    """A different image for every number."""
    return png(
        ((number * 37) % 256, (number * 91) % 256, number % 256), size=(16 + number // 256, 16)
    )


def bomb_png(width=50_000, height=50_000):
    """A PNG of a few bytes whose header promises width x height pixels."""

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def photo(width=4032, height=3024, seed=0, **options):
    """A JPEG as large as a phone's: 12 megapixels, 2 to 8 MB."""
    noise = random.Random(seed).randbytes(126 * 96 * 3)
    small = Image.frombytes("RGB", (126, 96), noise).resize(
        (width // 4, height // 4), Image.Resampling.BICUBIC
    )
    grain = Image.effect_noise((width, height), 24)
    full = small.resize((width, height), Image.Resampling.BILINEAR)
    mixed = Image.blend(full, Image.merge("RGB", (grain, grain, grain)), 0.2)
    buffer = io.BytesIO()
    mixed.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def bomb_webp(width=10_000, height=10_000):
    """A lossless WebP with black pixels in 28 bytes: a code with one symbol takes no bits."""
    bits, length = 0, 0

    def put(value, count):
        nonlocal bits, length
        bits |= value << length
        length += count

    put(0x2F, 8)
    put(width - 1, 14)
    put(height - 1, 14)
    put(0, 1 + 3 + 3)  # no alpha, version 0; no transform, no color cache, no groups of codes
    for _ in range(5):
        put(1, 4)  # a simple code of one symbol, in one bit: 0
    body = bits.to_bytes(-(-length // 16) * 2, "little")
    return (
        b"RIFF"
        + struct.pack("<I", 12 + len(body))
        + b"WEBPVP8L"
        + struct.pack("<I", len(body))
        + body
    )


def slow_png(width=10_000, height=10_000):
    """A PNG of 12 kB: 100 megapixels of one bit each, one of the two colors transparent."""
    image = Image.new("P", (width, height))
    image.putpalette([0, 0, 0, 255, 255, 255])
    return encoded(image, "PNG", bits=1, transparency=0, optimize=True)


def slow_tiff(width=10_000, height=10_000):
    """A TIFF of 6 kB: 100 megapixels of grey and transparency."""
    image = Image.new("LA", (width, height))
    return encoded(image, "TIFF", compression="zstd", strip_size=2 * width * height)


def fax_tiff(width=30_000, height=3_300):
    """A fax page of 7 kB, 99 megapixels: a white row takes one bit."""
    return encoded(Image.new("1", (width, height), 1), "TIFF", compression="group4")


def many_scans_jpeg(scans=2_000, size=(5_000, 5_000)):
    """A progressive JPEG that repeats its last scan: a few bytes, but a pass over all pixels."""
    data = encoded(Image.new("L", size, 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def wordy_png(texts=2_000, size=(32, 32)):
    """A PNG with many compressed texts, each of which unpacks to a megabyte."""
    data = png(size=size)
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(b" " * 2**20, 9))
    return data[:33] + text * texts + data[33:]


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def disguised_scans_jpeg(scans=2_000, size=(5_000, 5_000)):
    """`many_scans_jpeg` with an end of image in a comment before each scan, to hide them."""
    comment = b"\xff\xfe\x00\x04\xff\xd9"
    return many_scans_jpeg(scans, size).replace(b"\xff\xda", comment + b"\xff\xda")


def longest_png(seed=0):
    """A PNG that takes seconds: the most pixels that are allowed, interlaced, 16 bits, Paeth."""
    width, height = 8_000, 7_900 + seed
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 1)
    compressor = zlib.compressobj(1)
    body = b""
    for left, top, right, down in ADAM7:
        rows, columns = -(-(height - top) // down), -(-(width - left) // right)
        row = b"\4" + bytes(8 * columns)
        for _ in range(rows):
            body += compressor.compress(row)
    pixels = png_chunk(b"IDAT", body + compressor.flush())
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def many_frames_gif(width=2000, height=2000, frames=40):
    """A small GIF, whose frames take 480 MB as pixels."""
    first, *others = (Image.new("P", (width, height), number) for number in range(frames))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, optimize=False)
    return buffer.getvalue()
