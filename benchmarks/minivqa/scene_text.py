"""Scene text, after TextVQA: a painted sign or two in front of a photograph."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from benchmarks.minivqa.backgrounds import draw_background
from benchmarks.minivqa.lettering import letter
from benchmarks.minivqa.lexicon import COLORS, SIGN_WORDS, ink_on
from benchmarks.minivqa.parts import Part, Split
from benchmarks.minivqa.picture import SIDE, Picture, Question, ten
from benchmarks.minivqa.sources import FONTS, installed

MARGIN = 6
WHAT_WORD = Split(
    seen=(
        "what does the {color} sign say?",
        "what is written on the {color} sign?",
        "which word is on the {color} sign?",
        "what can be read on the {color} sign?",
        "what is the text of the {color} sign?",
    ),
    unseen=("what word can be read on the {color} sign?", "what text is on the {color} sign?"),
)
WHAT_NUMBER = Split(
    seen=(
        "what number is on the {color} sign?",
        "which number does the {color} sign show?",
        "which number can be read on the {color} sign?",
    ),
    unseen=("what number can be seen on the {color} sign?",),
)
WHAT_COLOR = Split(
    seen=(
        'what color is the sign that says "{text}"?',
        'which color is the "{text}" sign?',
        'what is the color of the "{text}" sign?',
        'what color has the sign that reads "{text}"?',
    ),
    unseen=('what is the color of the sign that reads "{text}"?',),
)
HOW_MANY = Split(
    seen=("how many signs are there?", "how many signs can you see?", "how many signs can be seen?"),
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
    for sign, font, (top, bottom) in zip(signs, fonts, heights, strict=True):
        _hang(canvas, _paint(sign, font, part, rng), top, bottom, rng)
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6)))
    questions = [question for sign in signs for question in _ask(sign, part, rng)]
    count = str(len(signs))
    questions.append(Question(HOW_MANY.draw(part, rng), count, ten(count, {"1": "one", "2": "two"}[count]), "count"))
    entities = (("photograph", photograph), *(("font", font) for font in fonts))
    return Picture(canvas, tuple(questions), entities)


def _paint(sign: Sign, font: str, part: Part, rng: random.Random) -> Image.Image:
    """A board with its text, turned a little."""
    text = rng.choice((sign.text, sign.text.upper(), sign.text.title()))
    written = letter(text, installed(font), rng.randint(18, 25), ink_on(sign.color), outlines=part is Part.HARDER)
    widest = SIDE - 4 * MARGIN
    if written.width > widest:
        written = written.resize((widest, max(8, written.height * widest // written.width)), Image.Resampling.LANCZOS)
    board = Image.new("RGBA", (written.width + 2 * MARGIN, written.height + 2 * MARGIN), (0, 0, 0, 0))
    corners = (0, 0, board.width - 1, board.height - 1)
    ImageDraw.Draw(board).rounded_rectangle(corners, rng.choice((0, 3, 6)), fill=(*COLORS[sign.color], 255))
    board.alpha_composite(written, (MARGIN, MARGIN))
    return board.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC, expand=True)


def _hang(canvas: Image.Image, board: Image.Image, top: int, bottom: int, rng: random.Random) -> None:
    """Anywhere between `top` and `bottom` where it is wholly seen."""
    left = rng.randint(0, max(0, SIDE - board.width))
    canvas.paste(board, (left, rng.randint(top, max(top, bottom - board.height))), board)


def _ask(sign: Sign, part: Part, rng: random.Random) -> list[Question]:
    is_number = sign.text.isdigit()
    what = (WHAT_NUMBER if is_number else WHAT_WORD).draw(part, rng).format(color=sign.color)
    color = WHAT_COLOR.draw(part, rng).format(text=sign.text)
    return [
        Question(what, sign.text, ten(sign.text, f"{sign.text} sign", f"the {sign.text}"), "number" if is_number else "word"),
        Question(color, sign.color, ten(sign.color, f"dark {sign.color}", f"bright {sign.color}"), "color"),
    ]
