"""Images at the door: checked before they are decoded, brought upright and to RGB, known by their SHA-256."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from services.core.errors import ImageUnknown, InvalidImage

MAX_BYTES = 24 * 2**20
MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image ready for a model. `pixels` is RGB and upright, `data` the file it came as, whose hash names it."""

    sha256: str
    pixels: Image.Image
    data: bytes = b""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load_image(data: bytes) -> LoadedImage:
    """Decodes an encoded image file: the first frame, EXIF rotation applied, transparency laid on white, 16 bit scaled to 8.

    Raises InvalidImage with a reason (IMAGE_EMPTY, IMAGE_TOO_LARGE, IMAGE_TOO_MANY_PIXELS, IMAGE_UNREADABLE,
    IMAGE_TRUNCATED); size and pixel count are checked before anything is decoded.
    """
    if not data:
        raise InvalidImage("the image is empty (0 bytes)", reason="IMAGE_EMPTY")
    if len(data) > MAX_BYTES:
        raise InvalidImage(
            f"the image has {len(data):,} bytes; at most {MAX_BYTES:,} are taken: send a smaller one", reason="IMAGE_TOO_LARGE"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InvalidImage(f"the image has too many pixels: {error}", reason="IMAGE_TOO_MANY_PIXELS") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InvalidImage(
            f"these {len(data):,} bytes are not an image that can be read ({', '.join(FORMATS)})", reason="IMAGE_UNREADABLE"
        ) from error
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise InvalidImage(
            f"the image is {width} x {height} pixels; at most {MAX_PIXELS:,} in all are taken: scale it down",
            reason="IMAGE_TOO_MANY_PIXELS",
        )
    try:
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
        return LoadedImage(sha256(data), _to_rgb(opened), data)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InvalidImage(f"the image is damaged or cut off: {error}", reason="IMAGE_TRUNCATED") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class ImageCache:
    """The images a service has been sent lately, by hash, so that the next question need not send them again.

    Holds at most `capacity_bytes` of pixels and files; the least recently used goes first.
    """

    def __init__(self, capacity_bytes: int = 256 * 2**20) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._images: OrderedDict[str, LoadedImage] = OrderedDict()

    def add(self, data: bytes) -> LoadedImage:
        """Loads `data`, or finds it already loaded."""
        known = self._images.get(sha256(data)) if data else None
        image = known or load_image(data)
        if known is None:
            self._images[image.sha256] = image
            self._bytes += _size_bytes(image)
        self._images.move_to_end(image.sha256)
        while self._bytes > self._capacity_bytes and len(self._images) > 1:
            self._bytes -= _size_bytes(self._images.popitem(last=False)[1])
        return image

    def get(self, sha256: str) -> LoadedImage:
        """Raises ImageUnknown: the caller must send the bytes."""
        image = self._images.get(sha256)
        if image is None:
            raise ImageUnknown(f"no image with sha256 {sha256[:64]!r} is held here: send its bytes")
        self._images.move_to_end(sha256)
        return image


def _size_bytes(image: LoadedImage) -> int:
    return image.pixels.width * image.pixels.height * 3 + len(image.data)
