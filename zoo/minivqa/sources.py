"""Fonts, drawings, photographs and tables from installed packages, each kind split by entity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from services.core import extras
from zoo.minivqa.parts import Split

FONTS = Split(
    seen=(
        *(
            f"font_roboto/files/Roboto-{style}.ttf"
            for style in ("Regular", "Medium", "Bold", "Black", "Italic")
        ),
        *(
            f"font_source_sans_pro/files/SourceSansPro-{style}.ttf"
            for style in ("Regular", "Semibold", "Bold", "It")
        ),
        *(
            f"font_source_serif_pro/files/SourceSerifPro-{style}.ttf"
            for style in ("Regular", "Semibold", "Bold", "Black")
        ),
        *(
            f"font_hanken_grotesk/files/HankenGrotesk-{style}.otf"
            for style in ("Regular", "Medium", "Bold")
        ),
        "font_fredoka_one/files/FredokaOne-Regular.ttf",
        *(
            f"matplotlib/mpl-data/fonts/ttf/DejaVuSans{style}.ttf"
            for style in ("", "-Bold", "-Oblique")
        ),
        *(f"matplotlib/mpl-data/fonts/ttf/DejaVuSansMono{style}.ttf" for style in ("", "-Bold")),
        *(
            f"matplotlib/mpl-data/fonts/ttf/STIXGeneral{style}.ttf"
            for style in ("", "Bol", "Italic")
        ),
    ),
    unseen=(
        *(
            f"font_manrope/files/Manrope-{style}.ttf"
            for style in ("Regular", "SemiBold", "ExtraBold")
        ),
        *(f"font_caladea/files/Caladea-{style}.ttf" for style in ("Regular", "Bold", "Italic")),
        "font_intuitive/files/Intuitive.ttf",
        *(f"matplotlib/mpl-data/fonts/ttf/DejaVuSerif{style}.ttf" for style in ("", "-Bold")),
    ),
)
"""Each family is in one half only."""

PHOTOGRAPHS = Split(
    seen=(
        "sklearn/datasets/images/china.jpg",
        *(
            f"skimage/data/{name}"
            for name in ("coffee.png", "rocket.jpg", "brick.png", "chelsea.png", "gravel.png")
        ),
    ),
    unseen=(
        "sklearn/datasets/images/flower.jpg",
        *(f"skimage/data/{name}" for name in ("motorcycle_left.png", "grass.png", "astronaut.png")),
    ),
)


@dataclass(frozen=True, slots=True)
class IconSet:
    font: str
    charmap: str


ICON_SETS = Split(
    seen=(
        IconSet(
            "materialdesignicons6-webfont-6.9.96.ttf",
            "materialdesignicons6-webfont-charmap-6.9.96.json",
        ),
        IconSet(
            "fontawesome6-solid-webfont-6.7.2.ttf", "fontawesome6-solid-webfont-charmap-6.7.2.json"
        ),
    ),
    unseen=(
        IconSet("phosphor-1.3.0.ttf", "phosphor-charmap-1.3.0.json"),
        IconSet("remixicon-2.5.0.ttf", "remixicon-charmap-2.5.0.json"),
    ),
)


def installed(path: str) -> Path:
    """A file of an installed package, as "package/path inside it". No code of the package runs."""
    package, _, inside = path.partition("/")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: {extras.install('minivqa')}")
    return Path(found.submodule_search_locations[0]) / inside


@cache
def photograph(path: str) -> Image.Image:
    return Image.open(installed(path)).convert("RGB")


@cache
def glyphs(icons: IconSet) -> dict[str, str]:
    """Name of an icon to its character."""
    names = json.loads(installed(f"qtawesome/fonts/{icons.charmap}").read_text())
    return {name: chr(int(code, 16)) for name, code in names.items()}
