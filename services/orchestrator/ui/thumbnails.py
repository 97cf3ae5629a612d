"""Images of a run for its pages: read from the run's source, and encoded again as small JPEGs.

A file of the source is never passed on: it could be a document with scripts, whatever its name.
"""

from __future__ import annotations

import io
import threading

from PIL import Image

from services.core.errors import InvalidInput, NotFound
from services.engines.image_decoder import ImageDecoder
from services.engines.images import sha256
from services.orchestrator.images.source import Source
from services.orchestrator.ui.library import Library, OpenedRun

SIDES = {"small": 160, "large": 1024}
"""Longest side in pixels, by the name of the size."""
DECODED_AT_ONCE = 2
"""A decoded image takes 64 MiB here at most. Decoding it may take 0.8 GiB, in another process."""
QUALITY = {"JPEG": 85, "WEBP": 70}

_decoder = ImageDecoder(DECODED_AT_ONCE)
_turns = threading.BoundedSemaphore(DECODED_AT_ONCE)


def thumbnail(library: Library, opened: OpenedRun, image_sha256: str, size: str) -> bytes:
    """A JPEG of at most SIDES[size] pixels on each side.

    Raises NotFound if the run has no such image, and what `shrink` raises.
    """
    path = opened.run.ledger.path_of(image_sha256)
    if not path or size not in SIDES:
        raise NotFound(f"this run has no image {image_sha256[:12]!r} of size {size!r}")
    return shrink(library.source(opened), path, image_sha256, SIDES[size])


def shrink(
    source: Source, path: str, image_sha256: str, side: int, encoding: str = "JPEG"
) -> bytes:
    """The image at `path`, at most `side` pixels on each side, in a format of QUALITY.

    Raises InvalidInput if its file is missing, has changed or is no image any more, Unavailable.
    """
    data = source.read(path)
    if sha256(data) != image_sha256:
        raise InvalidInput(f"{path} has changed since the run saw it")
    with _turns:
        pixels = _decoder.load(data, takes_tiff=True).pixels
        pixels.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    pixels.save(encoded, encoding, quality=QUALITY[encoding])
    return encoded.getvalue()
