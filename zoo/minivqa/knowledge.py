"""Knowledge, after OKVQA: an object, and a question that the picture alone does not answer."""

from __future__ import annotations

import random
from functools import cache

from PIL import Image, ImageDraw

from zoo.minivqa.backgrounds import draw_background
from zoo.minivqa.lettering import letter
from zoo.minivqa.lexicon import COLORS
from zoo.minivqa.objects import OBJECTS, SYNONYMS, Object
from zoo.minivqa.parts import Part, Split
from zoo.minivqa.picture import SIDE, Fact, Mark, Picture, ten
from zoo.minivqa.sources import ICON_SETS, IconSet, glyphs, installed

SORT = Split(
    seen=(
        "what sort of thing is this?",
        "what kind of thing is shown?",
        "what category is this?",
        "which sort does this belong to?",
        "which kind of thing is this?",
        "what sort of object is this?",
        "which category is shown?",
        "what category does this belong to?",
        "which sort of thing is shown?",
    ),
    unseen=("which category does this belong to?",),
)
PLACE = Split(
    seen=(
        "where would you find this?",
        "where does this belong?",
        "in what place would you find this?",
        "where is this usually found?",
        "where can you find this?",
        "where is this found?",
        "in which place is this found?",
        "in what place does this belong?",
        "where is this thing usually found?",
        "where do you find this?",
    ),
    unseen=("in what place is this usually found?",),
)
USE = Split(
    seen=(
        "what is this used for?",
        "what do people use this for?",
        "what purpose does this have?",
        "what would you use this for?",
        "what can this be used for?",
        "what is the use of this?",
        "what is the purpose of this thing?",
        "what purpose has this?",
    ),
    unseen=("what is the purpose of this?",),
)
ALIVE = Split(
    seen=(
        "is this alive?",
        "is this a living thing?",
        "is this thing alive?",
        "is this object alive?",
        "is the thing alive?",
        "is the object shown alive?",
        "is this a living object?",
        "is the thing in the picture alive?",
    ),
    unseen=("is the thing shown alive?",),
)
ELECTRIC = Split(
    seen=(
        "does this need electricity?",
        "is electricity needed here?",
        "does this thing need electricity?",
        "does this object need electricity?",
        "is electricity needed for this thing?",
        "is electricity needed to use this?",
    ),
    unseen=("is electricity needed for this?",),
)
MANUAL = Split(
    seen=(
        "does this work without electricity?",
        "is this used without electricity?",
        "does this object work without electricity?",
        "is this thing used without electricity?",
    ),
    unseen=("does this thing work without electricity?",),
)
NAME = Split(
    seen=(
        "what is this?",
        "what object is shown?",
        "which object is this?",
        "what is in the picture?",
        "which object is shown?",
        "what thing is shown?",
        "what object is this?",
        "what is shown?",
        "which thing is in the picture?",
        "what object is in the picture?",
        "what is shown in the picture?",
    ),
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
        drawn = drawn.resized(SIDE - 16, drawn.height * (SIDE - 16) // drawn.width)
    if rng.random() < 0.5:
        drawn = drawn.flipped()
    left, top = rng.randint(6, SIDE - drawn.width - 6), rng.randint(6, SIDE - drawn.height - 6)
    _put_card(canvas, (left - 5, top - 5, left + drawn.width + 5, top + drawn.height + 5), rng)
    drawn.put_on(canvas, left, top)
    mark = Mark(thing.name, left, top, left + drawn.width, top + drawn.height)
    facts = _facts(thing)
    asked = [*facts[:-2], rng.choice(facts[-2:])] if _may_be_electric(thing) else facts
    questions = tuple(fact.ask(part, rng) for fact in asked)
    return Picture(
        canvas,
        questions,
        (("icons", icons.font), ("photograph", photograph)),
        tuple(facts),
        (mark,),
    )


@cache
def _drawings(icons: IconSet, part: Part) -> tuple[tuple[Object, list[str]], ...]:
    """Every object that the set has, with its drawings."""
    known = glyphs(icons)
    found = (
        (
            thing,
            [
                known[name]
                for name in (thing.unseen if part.is_unseen else thing.seen)
                if name in known
            ],
        )
        for thing in OBJECTS
    )
    return tuple((thing, drawings) for thing, drawings in found if drawings)


def _put_card(canvas: Image.Image, corners: tuple[int, int, int, int], rng: random.Random) -> None:
    """A light card, so that the object stands out from the photograph."""
    light = rng.randint(225, 255)
    ImageDraw.Draw(canvas).rounded_rectangle(
        corners, 8, fill=(light, light, light - rng.randint(0, 12))
    )


def _facts(thing: Object) -> list[Fact]:
    rows = [
        (NAME, thing.name, "name"),
        (SORT, thing.sort, "sort"),
        (PLACE, thing.place, "place"),
        (USE, thing.use, "use"),
        (ALIVE, _yes_or_no(thing.is_alive), "alive"),
    ]
    if _may_be_electric(thing):
        rows += [
            (ELECTRIC, _yes_or_no(thing.is_electric), "electric"),
            (MANUAL, _yes_or_no(not thing.is_electric), "electric"),
        ]
    return [
        Fact(wordings, answer, ten(answer, *SYNONYMS.get(answer, ())), kind)
        for wordings, answer, kind in rows
        if answer
    ]


def _may_be_electric(thing: Object) -> bool:
    return thing.sort in ("device", "furniture", "tool")


def _yes_or_no(is_yes: bool) -> str:
    return "yes" if is_yes else "no"
