"""Random letters and digits, for training only: they can be read, but not guessed."""

from __future__ import annotations

import random
import string

from PIL import Image

from zoo.minivqa.families import Family
from zoo.minivqa.lettering import letter
from zoo.minivqa.parts import Part
from zoo.minivqa.picture import SIDE, Mark, Picture
from zoo.minivqa.reading import draw_colors, draw_word
from zoo.minivqa.sources import FONTS, installed

MOST = 6
HEIGHTS = (18, 60)
"""Up to half of the picture: large print is learned first, and helps with small print."""
PAGE_HEIGHTS = (14, 40)
SIGNS = string.ascii_letters + 2 * string.digits


def draw_letters(part: Part, rng: random.Random) -> Picture:
    """Draw a few letters or digits, printed like words."""
    signs = rng.choice((string.ascii_lowercase, string.ascii_lowercase, string.digits))
    return draw_word("".join(rng.choices(signs, k=rng.randint(1, MOST))), part, rng, HEIGHTS)


def draw_page(part: Part, rng: random.Random) -> Picture:
    """Draw lines of random signs in one font and size, half of the time black on white.

    Nothing is asked about a page.
    """
    font = FONTS.draw(part, rng)
    height = rng.randint(*PAGE_HEIGHTS)
    ground, ink = ((255, 255, 255), (0, 0, 0)) if rng.random() < 0.5 else draw_colors(rng)
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    top = rng.randint(0, height // 2)
    marks: list[Mark] = []
    while top + height <= SIDE:
        signs = "".join(rng.choices(SIGNS, k=SIDE // height + 2))
        line = letter(signs, installed(font), height, ink)
        marks += line.put_on(canvas, rng.randint(-height, 2), top)
        top += height + rng.randint(2, height)
    return Picture(canvas, (), (("font", font),), (), tuple(marks))


PAGES = Family("pages", draw_page, "word_recognition", "ocr")
LETTERS = Family("letters", draw_letters, "word_recognition", "ocr")
