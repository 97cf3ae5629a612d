"""Text and icons as transparent images, by two renderers: FreeType through Pillow, and resvg from the glyphs' outlines."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import vl_convert
from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]


def letter(text: str, font: Path, height: int, color: Color, *, outlines: bool = False) -> Image.Image:
    """`text` cropped to its ink, `height` pixels high; with `outlines` by the other renderer."""
    drawn = _by_outlines(text, font, color) if outlines else _by_freetype(text, font, height * 2, color)
    ink = drawn.getbbox()
    if ink is None:
        raise ValueError(f"{font.name} has no glyphs for {text!r}")
    drawn = drawn.crop(ink)
    width = max(1, round(drawn.width * height / drawn.height))
    return drawn.resize((width, height), Image.Resampling.LANCZOS)


def _by_freetype(text: str, font: Path, size: int, color: Color) -> Image.Image:
    face = _face(font, size)
    left, top, right, bottom = face.getbbox(text)
    canvas = Image.new("RGBA", (round(right - left) + 4, round(bottom - top) + 4), (*color, 0))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, font=face, fill=(*color, 255))
    return canvas


@cache
def _face(font: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), size)


def _by_outlines(text: str, font: Path, color: Color) -> Image.Image:
    face = _outlines(font)
    glyphs, names, advance, paths = face.getGlyphSet(), face.getBestCmap(), 0.0, []
    low, high = 0.0, 1.0
    for character in text:
        glyph, pen, bounds = glyphs[names[ord(character)]], SVGPathPen(glyphs), BoundsPen(glyphs)
        glyph.draw(pen)
        glyph.draw(bounds)
        if bounds.bounds:
            low, high = min(low, bounds.bounds[1]), max(high, bounds.bounds[3])
        paths.append(f'<path transform="translate({advance} 0)" d="{pen.getCommands()}"/>')
        advance += glyph.width
    scale = 128 / (high - low)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{advance * scale + 8:.0f}" height="136">'
        f'<g fill="rgb{color}" transform="translate(4 {4 + high * scale}) scale({scale} {-scale})">{"".join(paths)}</g></svg>'
    )
    return Image.open(io.BytesIO(vl_convert.svg_to_png(svg))).convert("RGBA")


@cache
def _outlines(font: Path) -> TTFont:
    return TTFont(font, lazy=True)
