"""Text and icons as transparent images, by FreeType (Pillow) or from outlines (resvg)."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import vl_convert
from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from zoo.minivqa.picture import Mark

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Lettering:
    """A transparent image with the places of its characters, after the ground they stand on."""

    image: Image.Image
    marks: tuple[Mark, ...]

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    def resized(self, width: int, height: int) -> Lettering:
        x, y = width / self.width, height / self.height
        marks = (
            Mark(m.name, m.left * x, m.top * y, m.right * x, m.bottom * y, m.after)
            for m in self.marks
        )
        return Lettering(self.image.resize((width, height), Image.Resampling.LANCZOS), tuple(marks))

    def rotated(self, degrees: float) -> Lettering:
        """Turns counterclockwise; the image grows to fit."""
        turned = self.image.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))

        def moved(mark: Mark) -> Mark:
            x = (mark.left + mark.right - self.width) / 2
            y = (mark.top + mark.bottom - self.height) / 2
            new_x, new_y = x * cosine + y * sine, y * cosine - x * sine
            return mark.moved(
                new_x - x + (turned.width - self.width) / 2,
                new_y - y + (turned.height - self.height) / 2,
            )

        return Lettering(turned, tuple(map(moved, self.marks)))

    def flipped(self) -> Lettering:
        """Mirrors a drawing. Characters don't survive it."""
        marks = (
            Mark(m.name, self.width - m.right, m.top, self.width - m.left, m.bottom)
            for m in self.marks
        )
        return Lettering(self.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), tuple(marks))

    def put_on(self, canvas: Image.Image, left: int, top: int) -> tuple[Mark, ...]:
        """Paints it and returns the places of its marks on the canvas."""
        canvas.paste(self.image, (left, top), self.image)
        return tuple(mark.moved(left, top) for mark in self.marks)


def letter(
    text: str, font: Path, height: int, color: Color, *, outlines: bool = False
) -> Lettering:
    """Text cropped to its ink, `height` pixels high, by FreeType or from `outlines`.

    A mark takes the whole height.
    """
    drawn, edges = (
        _by_outlines(text, font, color) if outlines else _by_freetype(text, font, height * 2, color)
    )
    ink = drawn.getbbox()
    if ink is None:
        raise ValueError(f"{font.name} has no glyphs for {text!r}")
    places = zip(text, ("", *text[:-1]), pairwise(edges), strict=True)
    marks = (
        Mark(sign, left - ink[0], 0, right - ink[0], ink[3] - ink[1], after)
        for sign, after, (left, right) in places
    )
    cropped = Lettering(drawn.crop(ink), tuple(marks))
    return cropped.resized(max(1, round(cropped.width * height / cropped.height)), height)


def _by_freetype(text: str, font: Path, size: int, color: Color) -> tuple[Image.Image, list[float]]:
    """The image, with the left edge of each character and the right edge of the last."""
    face = _face(font, size)
    left, top, right, bottom = face.getbbox(text)
    canvas = Image.new("RGBA", (round(right - left) + 4, round(bottom - top) + 4), (*color, 0))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, font=face, fill=(*color, 255))
    return canvas, [2 - left + face.getlength(text[:count]) for count in range(len(text) + 1)]


@cache
def _face(font: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), size)


def _by_outlines(text: str, font: Path, color: Color) -> tuple[Image.Image, list[float]]:
    face = _outlines(font)
    glyphs = face.getGlyphSet()
    names = face.getBestCmap()
    advance = 0.0
    paths = []
    low = 0.0
    high = 1.0
    advances = [0.0]
    for character in text:
        glyph = glyphs[names[ord(character)]]
        pen = SVGPathPen(glyphs)
        bounds = BoundsPen(glyphs)
        glyph.draw(pen)
        glyph.draw(bounds)
        if bounds.bounds:
            low, high = min(low, bounds.bounds[1]), max(high, bounds.bounds[3])
        paths.append(f'<path transform="translate({advance} 0)" d="{pen.getCommands()}"/>')
        advance += glyph.width
        advances.append(advance)
    scale = 128 / (high - low)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{advance * scale + 8:.0f}" height="136">'
        f'<g fill="rgb{color}" transform="translate(4 {4 + high * scale}) scale({scale} {-scale})">'
        f"{''.join(paths)}</g></svg>"
    )
    drawn = Image.open(io.BytesIO(vl_convert.svg_to_png(svg))).convert("RGBA")
    return drawn, [4 + advance * scale for advance in advances]


@cache
def _outlines(font: Path) -> TTFont:
    return TTFont(font, lazy=True)
