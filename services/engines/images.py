"""Image files: checked before they are decoded, turned upright, made RGB, known by their SHA-256.

`load_image` is the one way from a file to pixels, in serving and in training. Files from callers
are loaded in separate processes (image_decoder.py). docs/decisions/image-limits.md explains the
limits.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from services.core.errors import InvalidImage
from services.engines.image_headers import read_header

MAX_BYTES = 24 * 2**20
MAX_PIXELS = 64_000_000
WEBP_PIXELS_PER_BYTE = 5_000
"""Most pixels per byte of a WebP: only this format has no limit. Sparse scans have 2,000."""
FREE_PIXELS = 12_500_000
"""Pixels that a WebP of any size may have: a phone's photo, more than a page at 300 dpi."""
HALVED_ABOVE = 16_000_000
"""Images with more pixels are halved in width and height: presets use at most 5.3 megapixels."""
MAX_PASSES = 1_000_000_000
"""Most pixels times scans of a JPEG: 15 scans of 64 megapixels; encoders write about 10."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
ALL_FORMATS = (*FORMATS, "TIFF")
STORED_FORMATS = (*ALL_FORMATS, "BMP", "PPM")
STORED_PIXELS = 100_000_000
"""Formats and pixels that earlier releases accepted; stores may contain them."""
BYTES_PER_PIXEL = 4
"""Size in memory: Pillow keeps RGB in four bytes."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoadedImage:
    """An image ready for a model: `pixels` is RGB and upright, `sha256` is the hash of its file."""

    sha256: str
    pixels: Image.Image
    data: bytes = b""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.pixels.width * self.pixels.height * BYTES_PER_PIXEL + len(self.data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load_image(data: bytes, formats: tuple[str, ...] = ALL_FORMATS) -> LoadedImage:
    """Decodes the first frame of an image file.

    EXIF rotation is applied, transparency is put on white, 16 bits are scaled to 8. Size and
    pixel count are checked first. Raises InvalidImage with a reason (IMAGE_EMPTY, IMAGE_TOO_LARGE,
    IMAGE_TOO_MANY_PIXELS, IMAGE_TOO_EXPENSIVE, IMAGE_UNREADABLE, IMAGE_TRUNCATED).
    """
    return LoadedImage(sha256(data), decode(data, formats), data)


def load_stored_image(data: bytes, *, is_halved: bool = True) -> LoadedImage:
    """Loads a file of our own store like `load_image`, but accepts files of all earlier releases.

    `is_halved`: whether a large image is halved; releases before that rule kept all pixels.
    """
    check_bytes(data)
    opened = _open(data, STORED_FORMATS)
    _check_pixels(*opened.size, STORED_PIXELS)
    return LoadedImage(sha256(data), _pixels(opened, is_halved), data)


def decode(data: bytes, formats: tuple[str, ...] = ALL_FORMATS) -> Image.Image:
    """Pixels of `load_image`."""
    check_bytes(data)
    if header := read_header(data):
        _check_pixels(header.width, header.height)
        if header.scans * header.pixels > MAX_PASSES:
            raise InvalidImage(
                f"the image is a JPEG of {header.width} x {header.height} pixels in "
                f"{header.scans:,} scans; at most {MAX_PASSES // header.pixels:,} are accepted: "
                "save it with fewer",
                reason="IMAGE_TOO_EXPENSIVE",
            )
    opened = _open(data, formats)
    _check_pixels(*opened.size)
    if opened.format == "WEBP":
        _check_packing(*opened.size, len(data))
    return _pixels(opened, is_halved=True)


def _pixels(opened: Image.Image, is_halved: bool) -> Image.Image:
    try:
        return _to_rgb(opened, is_halved)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise errors of any kind on damaged files
        raise InvalidImage(
            f"the image is damaged or cut off: {str(error)[:200]}", reason="IMAGE_TRUNCATED"
        ) from error


def most_bytes(data: bytes) -> int:
    """Memory that `load_image` takes for a file, by its header; without one, the most possible."""
    header = read_header(data)
    pixels = min(header.pixels, HALVED_ABOVE) if header else HALVED_ABOVE
    return pixels * BYTES_PER_PIXEL + len(data)


def refused_by_processor(error: BaseException) -> InvalidImage:
    """The error of an image that a model's processor does not accept."""
    is_narrow = "aspect ratio" in str(error)  # Qwen: one side is over 200 times the other
    advice = ": cut the image into parts" if is_narrow else ""
    return InvalidImage(
        f"the model's processor can't take this image: {error}{advice}",
        reason="IMAGE_TOO_NARROW" if is_narrow else None,
    )


def check_bytes(data: bytes) -> None:
    """Raises InvalidImage: no bytes, or too many."""
    if not data:
        raise InvalidImage("the image is empty (0 bytes)", reason="IMAGE_EMPTY")
    if len(data) > MAX_BYTES:
        raise InvalidImage(
            f"the image has {len(data):,} bytes; at most {MAX_BYTES:,} are accepted: "
            "send a smaller one",
            reason="IMAGE_TOO_LARGE",
        )


def _check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise InvalidImage(
            f"the image is {width} x {height} pixels; at most {most:,} in all are accepted: "
            "scale it down",
            reason="IMAGE_TOO_MANY_PIXELS",
        )


def _check_packing(width: int, height: int, size: int) -> None:
    if width * height > max(FREE_PIXELS, size * WEBP_PIXELS_PER_BYTE):
        raise InvalidImage(
            f"the image is {width} x {height} pixels in {size:,} bytes, which can hold "
            f"hardly any detail: scale it down to {FREE_PIXELS:,} pixels",
            reason="IMAGE_TOO_MANY_PIXELS",
        )


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise InvalidImage(
            f"the image has too many pixels: {error}", reason="IMAGE_TOO_MANY_PIXELS"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        hint = "" if isinstance(error, UnidentifiedImageError) else f": {str(error)[:200]}"
        if data.startswith((b"II*\0", b"MM\0*")) and "TIFF" not in formats:
            hint = ": it is a TIFF, which a service accepts with IMAGE_TIFF=1"
        raise InvalidImage(
            f"these {len(data):,} bytes are not an image that can be read "
            f"({', '.join(formats)}){hint}",
            reason="IMAGE_UNREADABLE",
        ) from error


def _to_rgb(image: Image.Image, is_halved: bool) -> Image.Image:
    if is_halved and _is_large(image):
        # Lets a JPEG be decoded at half its size.
        image.draft(None, (image.width // 2, image.height // 2))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.point(lambda value: value / 256).convert("L")
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image = image.convert("RGBA" if has_alpha else "RGB")
    if is_halved and _is_large(image):
        image = image.reduce(2)
    if has_alpha:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > HALVED_ABOVE
