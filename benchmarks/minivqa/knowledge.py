"""Knowledge, after OKVQA: an object, and a question that the picture alone does not answer."""

from __future__ import annotations

import random
from functools import cache

from PIL import Image, ImageDraw

from benchmarks.minivqa.backgrounds import draw_background
from benchmarks.minivqa.lettering import letter
from benchmarks.minivqa.lexicon import COLORS
from benchmarks.minivqa.objects import OBJECTS, SYNONYMS, Object
from benchmarks.minivqa.parts import Part, Split
from benchmarks.minivqa.picture import SIDE, Picture, Question, ten
from benchmarks.minivqa.sources import ICON_SETS, IconSet, glyphs, installed

SORT = Split(
    seen=(
        "what sort of thing is this?",
        "what kind of thing is shown?",
        "what category is this?",
        "which sort does this belong to?",
    ),
    unseen=("which category does this belong to?",),
)
PLACE = Split(
    seen=(
        "where would you find this?",
        "where does this belong?",
        "in what place would you find this?",
        "where is this usually found?",
    ),
    unseen=("in what place is this usually found?",),
)
USE = Split(
    seen=("what is this used for?", "what do people use this for?", "what purpose does this have?"),
    unseen=("what is the purpose of this?",),
)
ALIVE = Split(seen=("is this alive?", "is this a living thing?", "is this thing alive?"), unseen=("is the thing shown alive?",))
ELECTRIC = Split(
    seen=("does this need electricity?", "does this work without electricity?", "is electricity needed here?"),
    unseen=("is electricity needed for this?",),
)
NAME = Split(
    seen=("what is this?", "what object is shown?", "which object is this?", "what is in the picture?"),
    unseen=("which object is in the picture?",),
)
INK = tuple(name for name in COLORS if name not in ("white", "yellow"))


def draw_knowledge(part: Part, rng: random.Random) -> Picture:
    icons = ICON_SETS.draw(part, rng)
    thing, drawings = rng.choice(_drawings(icons, part))
    canvas, photograph = draw_background(part, rng)
    drawn = letter(
        rng.choice(drawings),
        installed(f"qtawesome/fonts/{icons.font}"),
        rng.randint(56, 76),
        COLORS[rng.choice(INK)],
        outlines=part is Part.HARDER,
    )
    if drawn.width > SIDE - 16:
        drawn = drawn.resize((SIDE - 16, drawn.height * (SIDE - 16) // drawn.width), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = rng.randint(6, SIDE - drawn.width - 6), rng.randint(6, SIDE - drawn.height - 6)
    _put_card(canvas, (left - 5, top - 5, left + drawn.width + 5, top + drawn.height + 5), rng)
    canvas.paste(drawn, (left, top), drawn)
    return Picture(canvas, tuple(_ask(thing, part, rng)), (("icons", icons.font), ("photograph", photograph)))


@cache
def _drawings(icons: IconSet, part: Part) -> tuple[tuple[Object, list[str]], ...]:
    """Every object that the set has, with its drawings."""
    known = glyphs(icons)
    found = (
        (thing, [known[name] for name in (thing.unseen if part.is_unseen else thing.seen) if name in known])
        for thing in OBJECTS
    )
    return tuple((thing, drawings) for thing, drawings in found if drawings)


def _put_card(canvas: Image.Image, corners: tuple[int, int, int, int], rng: random.Random) -> None:
    """A light card, so that the object stands out from the photograph."""
    light = rng.randint(225, 255)
    ImageDraw.Draw(canvas).rounded_rectangle(corners, 8, fill=(light, light, light - rng.randint(0, 12)))


def _ask(thing: Object, part: Part, rng: random.Random) -> list[Question]:
    electric = ELECTRIC.draw(part, rng)
    is_yes = thing.is_electric != ("without" in electric)
    rows = [
        (NAME.draw(part, rng), thing.name, "name"),
        (SORT.draw(part, rng), thing.sort, "sort"),
        (PLACE.draw(part, rng), thing.place, "place"),
        (USE.draw(part, rng), thing.use, "use"),
        (ALIVE.draw(part, rng), "yes" if thing.is_alive else "no", "alive"),
        (electric, ("yes" if is_yes else "no") if thing.sort in ("device", "furniture", "tool") else "", "electric"),
    ]
    return [Question(text, answer, ten(answer, *SYNONYMS.get(answer, ())), kind) for text, answer, kind in rows if answer]
