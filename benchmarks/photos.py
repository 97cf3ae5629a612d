"""Photos of mixed sizes, drawn: from thumbnails to the 12 megapixels of a phone.

    build/bench/photos/SIZES/N.jpg

Each is different. Grain makes the files as large as those of a camera.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.folders import BUILD
from services.files import write_atomically

Size = tuple[int, int]
PHONE: tuple[Size, ...] = (
    (4032, 3024),
    (640, 480),
    (1920, 1080),
    (1024, 768),
    (480, 640),
    (3024, 4032),
    (1280, 960),
    (500, 375),
    (120, 80),
    (2048, 1536),
)
SMALL: tuple[Size, ...] = ((120, 80), (96, 96), (160, 120), (80, 120))
SIZES = {"qwen2vl-7b": PHONE, "qwen2vl-2b": PHONE, "tiny": SMALL, "tiny-teacher": SMALL}
"""Width and height of the photos that a model is asked about, in turn."""
COLORS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple")
QUESTIONS = (
    "what color is the sign?",
    "what is written at the top?",
    "how many people are there?",
    "is the door open?",
)


def photos(count: int, model: str) -> list[Path]:
    """The first `count` photos for a model; missing ones are drawn."""
    sizes = SIZES[model]
    folder = BUILD / "photos" / ("phone" if sizes is PHONE else "small")
    paths = [folder / f"{number}.jpg" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    with ThreadPoolExecutor() as pool:
        drawn = pool.map(lambda number: draw(number, sizes[number % len(sizes)]), missing)
        for number, data in zip(missing, drawn, strict=True):
            write_atomically(paths[number], data)
    return paths


def answer_of(number: int) -> str:
    """The color of a photo's sign."""
    return COLORS[number % len(COLORS)]


def draw(number: int, size: Size) -> bytes:
    """A JPEG: grain, and a sign with the photo's number."""
    width, height = size
    image = _grain(size).copy()
    pen = ImageDraw.Draw(image)
    left = number * 37 % max(1, width // 2)
    top = number * 53 % max(1, height // 2)
    pen.rectangle((left, top, left + width // 3, top + height // 3), fill=answer_of(number))
    pen.text((left + 2, top + 2), str(number), fill="gray", font_size=max(8, height // 8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


@cache
def _grain(size: Size) -> Image.Image:
    """Grey noise over a gradient, in color."""
    noise = Image.effect_noise(size, 24)
    slope = Image.linear_gradient("L").resize(size)
    blend = Image.blend(noise, slope, 0.5)
    return Image.merge("RGB", (blend, noise, slope))
