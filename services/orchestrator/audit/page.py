"""A sheet as one HTML file: raters open it from disk, offline, and return the file it saves."""

from __future__ import annotations

import base64
import html
import io
import json
from importlib.resources import files

from PIL import Image

from services.engines.images import load_image
from services.orchestrator.audit.sheet import Sheet

MAX_SIDE = 1600
LOSSLESS_PIXELS = 2**18
QUALITY = 90


def render(sheet: Sheet) -> str:
    """The page. Texts of models stay text: they can't end their element or become markup."""
    page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(sheet.to_document(), ensure_ascii=False).replace("<", "\\u003c")
    return page.replace("{{title}}", html.escape(sheet.title)).replace("{{sheet}}", data)


def data_uri(data: bytes) -> str:
    """The image as the models saw it, upright and without metadata: every image is WebP.

    Raises InvalidImage.
    """
    pixels = load_image(data).pixels
    pixels.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    is_small = pixels.width * pixels.height <= LOSSLESS_PIXELS
    buffer = io.BytesIO()
    pixels.save(buffer, "WEBP", lossless=is_small, quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
