"""Charts, after ChartQA: two or three bars with values from a real table."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

import vl_convert
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from zoo.minivqa.lexicon import COLORS
from zoo.minivqa.parts import Part, Split, filled
from zoo.minivqa.picture import SIDE, Fact, Mark, Picture
from zoo.minivqa.sources import FONTS, installed
from zoo.minivqa.tables import COLUMNS, values

BAR_COLORS = tuple(color for color in COLORS if color != "white")
LABEL_SIZES = {2: 17.0, 3: 15.0}
"""Points, by the number of bars: as large as fits."""
VALUE = Split(
    seen=(
        "what is the value of the {color} bar?",
        "what value does the {color} bar have?",
        "how much is the {color} bar?",
        "what does the {color} bar show?",
        "which number is on the {color} bar?",
        "what is the number of the {color} bar?",
        "which value is on the {color} bar?",
        "what number does the {color} bar show?",
        "what number is on the {color} bar?",
        "which number does the {color} bar have?",
        "what is the {color} value?",
    ),
    unseen=("what is the number on the {color} bar?", "which value does the {color} bar show?"),
)
HIGHEST = Split(
    seen=(
        "what color is the highest bar?",
        "which color has the largest value?",
        "what is the color of the largest bar?",
        "which bar is the biggest?",
        "which bar is the highest?",
        "what color has the highest bar?",
        "which color is the biggest bar?",
        "what color is the biggest bar?",
        "what is the color of the highest bar?",
        "which color has the highest value?",
    ),
    unseen=("what is the color of the biggest bar?",),
)
COUNT = Split(
    seen=(
        "how many bars are there?",
        "how many bars does the chart have?",
        "what number of bars is there?",
        "how many bars are shown?",
        "how many bars can you see?",
        "how many bars are in the chart?",
        "what is the number of bars in the chart?",
        "what number of bars does the chart have?",
    ),
    unseen=("what is the number of bars?",),
)
EXTREME = Split(
    seen=(
        "what is the highest value?",
        "what is the largest value in the chart?",
        "what is the maximum?",
        "what is the maximum value?",
        "which value is the highest?",
        "what is the largest number?",
        "which number is the largest in the chart?",
        "what is the value of the highest bar?",
        "what is the value of the biggest bar?",
        "what value does the largest bar have?",
        "what is the maximum of the chart?",
    ),
    unseen=("what is the largest value?",),
)


@dataclass(frozen=True, slots=True)
class Bar:
    color: str
    value: int


def draw_charts(part: Part, rng: random.Random) -> Picture:
    column = COLUMNS.draw(part, rng)
    font = FONTS.draw(part, rng)
    count = rng.choice((2, 3))
    bars = [
        Bar(c, v)
        for c, v in zip(
            rng.sample(BAR_COLORS, count), _different(values(column), count, rng), strict=True
        )
    ]
    image, marks = _by_vega(bars, rng) if part is Part.HARDER else _by_matplotlib(bars, font, rng)
    facts = _facts(bars)
    asked = [rng.choice(facts[:count]), *facts[count:]]
    questions = tuple(fact.ask(part, rng) for fact in asked)
    return Picture(image, questions, (("table", column.table), ("font", font)), tuple(facts), marks)


def _different(column: tuple[int, ...], count: int, rng: random.Random) -> list[int]:
    """Values far enough apart to see which bar is the highest."""
    chosen: list[int] = []
    while len(chosen) < count:
        value = rng.choice(column)
        if all(abs(value - other) >= max(2, 0.08 * max(value, other)) for other in chosen):
            chosen.append(value)
        elif rng.random() < 0.05:
            chosen.clear()
    return chosen


def _by_matplotlib(
    bars: list[Bar], font: str, rng: random.Random
) -> tuple[Image.Image, tuple[Mark, ...]]:
    figure = Figure(
        figsize=(SIDE / 100, SIDE / 100),
        dpi=100,
        facecolor=rng.choice(("white", "#f4f4f4", "#fffdf5")),
    )
    axes = figure.add_axes((0.06, 0.08, 0.88, 0.84))
    heights = [bar.value for bar in bars]
    drawn = axes.bar(
        range(len(bars)),
        heights,
        width=rng.uniform(0.55, 0.85),
        color=[_hex(bar.color) for bar in bars],
    )
    label = FontProperties(
        fname=str(installed(font)), size=LABEL_SIZES[len(bars)] * rng.uniform(0.92, 1.0)
    )
    labels = [
        axes.text(place, height, str(height), ha="center", va="bottom", fontproperties=label)
        for place, height in enumerate(heights)
    ]
    axes.set_ylim(0, max(heights) * 1.35)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right") if rng.random() < 0.6 else ():
        axes.spines[side].set_visible(False)
    if rng.random() < 0.3:
        axes.set_facecolor("#eeeeee")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    marks = [_mark(bar.color, shown) for bar, shown in zip(bars, drawn, strict=True)]
    marks.append(_mark("highest", drawn[heights.index(max(heights))]))
    for bar, text in zip(bars, labels, strict=True):
        whole = _mark(bar.color, text)
        digits = text.get_text()
        step = (whole.right - whole.left) / len(digits)
        marks.append(whole)
        marks += (
            Mark(
                digit,
                whole.left + step * place,
                whole.top,
                whole.left + step * (place + 1),
                whole.bottom,
                after,
            )
            for place, (after, digit) in enumerate(zip(("", *digits[:-1]), digits, strict=True))
        )
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert(
        "RGB"
    ), tuple(marks)


def _mark(name: str, drawn: Artist) -> Mark:
    """Place of a drawn part. Pixels count from the top."""
    box = drawn.get_window_extent()
    return Mark(name, box.x0, SIDE - box.y1, box.x1, SIDE - box.y0)


def _by_vega(bars: list[Bar], rng: random.Random) -> tuple[Image.Image, tuple[Mark, ...]]:
    """Without marks: no training uses this renderer."""
    rows = [
        {"place": place, "value": bar.value, "color": _hex(bar.color)}
        for place, bar in enumerate(bars)
    ]
    place = {"field": "place", "type": "ordinal", "axis": None}
    height = {
        "field": "value",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, max(b.value for b in bars) * 1.2]},
    }
    bar = {
        "mark": {"type": "bar", "cornerRadiusEnd": 3},
        "encoding": {"color": {"field": "color", "type": "nominal", "scale": None}},
    }
    text = {
        "mark": {"type": "text", "dy": -7, "fontSize": 14, "fontWeight": "bold"},
        "encoding": {"text": {"field": "value"}},
    }
    chart = {
        "width": SIDE - 12,
        "height": SIDE - 12,
        "padding": 5,
        "background": rng.choice(("#ffffff", "#fbf6ea")),
        "data": {"values": rows},
        "encoding": {"x": place, "y": height},
        "layer": [bar, text],
    }
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart, scale=2))).convert("RGB")
    return drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS), ()


def _hex(color: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLORS[color])


def _facts(bars: list[Bar]) -> list[Fact]:
    """Facts of a chart, the values first."""
    highest = max(bars, key=lambda bar: bar.value)
    rows = [
        *((filled(VALUE, color=bar.color), str(bar.value), "value") for bar in bars),
        (EXTREME, str(highest.value), "extreme"),
        (HIGHEST, highest.color, "highest"),
        (COUNT, str(len(bars)), "count"),
    ]
    return [Fact(wordings, answer, (answer,), kind) for wordings, answer, kind in rows]
