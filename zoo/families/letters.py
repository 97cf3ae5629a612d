"""Signs before words, for training only: what can't be guessed, so that nothing but looking helps."""

from __future__ import annotations

import random
import string

from PIL import Image

from benchmarks.minivqa.families import Family
from benchmarks.minivqa.lettering import letter
from benchmarks.minivqa.parts import Part
from benchmarks.minivqa.picture import SIDE, Picture, Question
from benchmarks.minivqa.reading import WHAT, draw_word
from benchmarks.minivqa.sources import FONTS, installed

MOST = 3
HEIGHTS = (24, 90)
"""Up to most of the picture: large print is learned first, and helps with small."""
GLYPH_HEIGHTS = (50, 80)
NEAR = 10
"""Pixels that a glyph may be off the middle."""


def draw_glyph(part: Part, rng: random.Random) -> Picture:
    """One large letter or digit, black on white, near the middle."""
    sign, font = rng.choice(string.ascii_lowercase + string.digits), FONTS.draw(part, rng)
    shown = rng.choice((sign, sign.upper()))
    glyph = letter(shown, installed(font), rng.randint(*GLYPH_HEIGHTS), (0, 0, 0))
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    left, top = (round((SIDE - side) / 2) + rng.randint(-NEAR, NEAR) for side in glyph.size)
    canvas.paste(glyph, (left, top), glyph)
    return Picture(canvas, (Question(WHAT.draw(part, rng), sign, (sign,), "sign"),), (("font", font),))


def draw_letters(part: Part, rng: random.Random) -> Picture:
    """One to three letters or digits, printed as words are."""
    signs = rng.choice((string.ascii_lowercase, string.ascii_lowercase, string.digits))
    return draw_word("".join(rng.choices(signs, k=rng.randint(1, MOST))), part, rng, HEIGHTS)


GLYPHS = Family("glyphs", draw_glyph, "word_recognition", "ocr")
LETTERS = Family("letters", draw_letters, "word_recognition", "ocr")
