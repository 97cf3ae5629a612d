"""Images as they are sent: larger ones than a pixel budget are shrunk once, for all models.

The copy has the size that the student's processor would give the original, and except for its
encoding the same pixels (docs/decisions/pixel-budget.md).
"""

from __future__ import annotations

import io

from PIL import Image

from services.core.pixels import PixelBudget
from services.engines.images import LoadedImage, load_image, sha256
from services.rpc.client import Picture

_LOSSY = (b"\xff\xd8", b"RIFF")
"""First bytes of JPEG and WebP."""


def as_sent(image: LoadedImage, budget: PixelBudget) -> Picture:
    """The image as its file, or as a smaller copy; its name is the hash of the file."""
    size = budget.fit(*image.pixels.size)
    if size == image.pixels.size:
        return Picture(image.sha256, image.data)
    pixels = image.pixels.resize(size, Image.Resampling.BICUBIC)  # upright, without metadata
    copy = io.BytesIO()
    if image.data.startswith(_LOSSY):
        pixels.save(copy, "JPEG", quality=95, subsampling=0)
    else:
        pixels.save(copy, "PNG", compress_level=1)  # a third of the time, a tenth more bytes
    return Picture(image.sha256, copy.getvalue(), sha256(copy.getvalue()))


def shrunk(picture: Picture, budget: PixelBudget) -> Picture:
    """The picture of an original file within the budget. Raises InvalidImage."""
    return as_sent(load_image(picture.data), budget) if budget.max_pixels else picture
