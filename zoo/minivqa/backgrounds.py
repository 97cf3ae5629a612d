"""Backgrounds of signs and objects: crops of photographs."""

from __future__ import annotations

import random

from PIL import Image, ImageEnhance

from zoo.minivqa.parts import Part
from zoo.minivqa.picture import SIDE
from zoo.minivqa.sources import PHOTOGRAPHS, photograph

WIDEST = 2.2
"""Largest width of a crop in widths of the picture; it is then made smaller."""


def draw_background(part: Part, rng: random.Random) -> tuple[Image.Image, str]:
    """A crop of SIDE x SIDE, a little faded, and the photograph it is from."""
    name = PHOTOGRAPHS.draw(part, rng)
    photo = photograph(name)
    side = min(round(SIDE * rng.uniform(1.0, WIDEST)), photo.width, photo.height)
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    crop = photo.crop((left, top, left + side, top + side)).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR
    )
    return ImageEnhance.Contrast(crop).enhance(rng.uniform(0.4, 0.8)), name
