"""Signs before words, for training only: what can't be guessed, so that nothing but looking helps."""

from __future__ import annotations

import random
import string

from benchmarks.minivqa.families import Family
from benchmarks.minivqa.parts import Part
from benchmarks.minivqa.picture import Picture
from benchmarks.minivqa.reading import draw_word

MOST = 3
HEIGHTS = (24, 90)
"""Up to most of the picture: large print is learned first, and helps with small."""


def draw_letters(part: Part, rng: random.Random) -> Picture:
    """One to three letters or digits, printed as words are."""
    signs = rng.choice((string.ascii_lowercase, string.ascii_lowercase, string.digits))
    return draw_word("".join(rng.choices(signs, k=rng.randint(1, MOST))), part, rng, HEIGHTS)


LETTERS = Family("letters", draw_letters, "word_recognition", "ocr")
