"""Scene text, after TextVQA: a painted sign or two in front of a photograph."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from zoo.minivqa.backgrounds import draw_background
from zoo.minivqa.lettering import Lettering, letter
from zoo.minivqa.lexicon import COLORS, SIGN_WORDS, ink_on
from zoo.minivqa.parts import Part, Split, filled
from zoo.minivqa.picture import SIDE, Fact, Mark, Picture, ten
from zoo.minivqa.sources import FONTS, installed

MARGIN = 6
WHAT_WORD = Split(
    seen=(
        "what does the {color} sign say?",
        "what is written on the {color} sign?",
        "which word is on the {color} sign?",
        "what can be read on the {color} sign?",
        "what is the text of the {color} sign?",
        "what word does the {color} sign show?",
        "which text is on the {color} sign?",
        "what text does the {color} sign have?",
        "read the {color} sign.",
        "which word can you see on the {color} sign?",
        "what word is written on the {color} sign?",
        "what can you read on the {color} sign?",
    ),
    unseen=("what word can be read on the {color} sign?", "what text is on the {color} sign?"),
)
WHAT_NUMBER = Split(
    seen=(
        "what number is on the {color} sign?",
        "which number does the {color} sign show?",
        "which number can be read on the {color} sign?",
        "what number does the {color} sign show?",
        "what is the number on the {color} sign?",
        "which number can you see on the {color} sign?",
        "what number can you read on the {color} sign?",
        "what number can be read on the {color} sign?",
    ),
    unseen=("what number can be seen on the {color} sign?",),
)
WHAT_COLOR = Split(
    seen=(
        'what color is the sign that says "{text}"?',
        'which color is the "{text}" sign?',
        'what is the color of the "{text}" sign?',
        'what color has the sign that reads "{text}"?',
        'what is the color of the sign that says "{text}"?',
        'what color is the sign that reads "{text}"?',
        'what color does the "{text}" sign have?',
        'which color is the sign that reads "{text}"?',
        'which color has the sign that says "{text}"?',
    ),
    unseen=('what is the color of the sign that reads "{text}"?',),
)
HOW_MANY = Split(
    seen=(
        "how many signs are there?",
        "how many signs can you see?",
        "how many signs can be seen?",
        "how many signs does the picture have?",
        "how many signs are shown?",
        "how many signs are in the image?",
        "what is the number of signs?",
        "what number of signs can you see?",
        "how many signs are there in the image?",
    ),
    unseen=("how many signs are in the picture?",),
)


@dataclass(frozen=True, slots=True)
class Sign:
    text: str
    color: str


def draw_scene_text(part: Part, rng: random.Random) -> Picture:
    canvas, photograph = draw_background(part, rng)
    colors = rng.sample(sorted(COLORS), 2)
    signs = [Sign(rng.choice(SIGN_WORDS), colors[0])]
    if rng.random() < 0.6:
        signs.append(Sign(str(rng.randint(1, 99)), colors[1]))
    fonts = [FONTS.draw(part, rng) for _ in signs]
    heights = [(0, SIDE)] if len(signs) == 1 else [(0, SIDE // 2), (SIDE // 2, SIDE)]
    rng.shuffle(heights)
    marks: list[Mark] = []
    for sign, font, (top, bottom) in zip(signs, fonts, heights, strict=True):
        marks += _hang(canvas, _paint(sign, font, part, rng), top, bottom, rng)
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6)))
    count = str(len(signs))
    facts = [fact for sign in signs for fact in _facts(sign)]
    facts.append(Fact(HOW_MANY, count, ten(count, {"1": "one", "2": "two"}[count]), "count"))
    entities = (("photograph", photograph), *(("font", font) for font in fonts))
    return Picture(
        canvas, tuple(fact.ask(part, rng) for fact in facts), entities, tuple(facts), tuple(marks)
    )


def _paint(sign: Sign, font: str, part: Part, rng: random.Random) -> Lettering:
    """A board with its text, turned a little."""
    text = rng.choice((sign.text, sign.text.upper(), sign.text.title()))
    written = letter(
        text, installed(font), rng.randint(18, 25), ink_on(sign.color), outlines=part is Part.HARDER
    )
    widest = SIDE - 4 * MARGIN
    if written.width > widest:
        written = written.resized(widest, max(8, written.height * widest // written.width))
    board = Image.new(
        "RGBA", (written.width + 2 * MARGIN, written.height + 2 * MARGIN), (0, 0, 0, 0)
    )
    corners = (0, 0, board.width - 1, board.height - 1)
    ImageDraw.Draw(board).rounded_rectangle(
        corners, rng.choice((0, 3, 6)), fill=(*COLORS[sign.color], 255)
    )
    board.alpha_composite(written.image, (MARGIN, MARGIN))
    marks = (
        Mark(sign.color, 0, 0, *board.size),
        *(mark.moved(MARGIN, MARGIN) for mark in written.marks),
    )
    return Lettering(board, marks).rotated(rng.uniform(-6, 6))


def _hang(
    canvas: Image.Image, board: Lettering, top: int, bottom: int, rng: random.Random
) -> tuple[Mark, ...]:
    """Puts it anywhere between `top` and `bottom`, wholly visible."""
    left = rng.randint(0, max(0, SIDE - board.width))
    return board.put_on(canvas, left, rng.randint(top, max(top, bottom - board.height)))


def _facts(sign: Sign) -> list[Fact]:
    what, kind = (WHAT_NUMBER, "number") if sign.text.isdigit() else (WHAT_WORD, "word")
    text, color = sign.text, sign.color
    return [
        Fact(filled(what, color=color), text, ten(text, f"{text} sign", f"the {text}"), kind),
        Fact(
            filled(WHAT_COLOR, text=text),
            color,
            ten(color, f"dark {color}", f"bright {color}"),
            "color",
        ),
    ]
