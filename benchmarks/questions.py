"""Questions about images: others in every run, the same for both sides.

The bundled pair and "150m" are asked easy-VQA's about its train images, models of true shape some
about photos.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import photos
from services.core.decoding import Decoding
from services.core.tasks import answer_prompt
from services.engines.images import sha256
from zoo.easy_vqa import pool_image_paths, train_questions, training_image_paths

FIXED_LENGTH = 6
"""Tokens of a reply of a random model, which hardly ever ends one by itself."""
PHOTOS = 512
"""Photos that models of true shape are asked about, in a circle."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about an image. `data`: the encoded file; `reference`: the data set's answer."""

    data: bytes
    sha256: str
    question: str
    reference: str

    @property
    def prompt(self) -> str:
        return answer_prompt(self.question)


def decoding(model: str) -> Decoding:
    """Greedy; the bundled pair ends its replies itself."""
    return Decoding(max_new_tokens=32 if model == "bundled" else FIXED_LENGTH)


@cache
def image_files() -> tuple[Path, ...]:
    """4,000 files, always in the same random order."""
    paths = {**training_image_paths(), **pool_image_paths()}
    numbers = sorted(paths)
    random.Random(0).shuffle(numbers)
    return tuple(paths[number] for number in numbers)


def copy_images(folder: Path, first: int, images: int) -> Path:
    """A new folder with copies of the images from number `first` on."""
    folder.mkdir()
    for file in image_files()[first : first + images]:
        shutil.copyfile(file, folder / file.name)
    return folder


@cache
def _questions() -> dict[int, list[tuple[str, str]]]:
    """Image number to its questions, each once."""
    asked: dict[int, dict[str, str]] = defaultdict(dict)
    for question in train_questions():
        asked[question.image_id][question.text] = question.answer
    return {number: list(questions.items()) for number, questions in asked.items()}


def ask(first_image: int, images: int, per_image: int = 4, model: str = "bundled") -> list[Asked]:
    """Up to `per_image` questions about each of the images from `first_image` on, in a circle."""
    if model in photos.SIZES:
        return _about_photos(first_image, images, per_image, model)
    files = image_files()
    found = []
    for at in range(first_image, first_image + images):
        file = files[at % len(files)]
        data = file.read_bytes()
        for text, answer in _questions().get(int(file.stem), [])[:per_image]:
            found.append(Asked(data, sha256(data), text, answer))
    return found


def _about_photos(first: int, count: int, per_image: int, model: str) -> list[Asked]:
    """No photo is asked about twice before all have been."""
    numbers = [(first + at) % PHOTOS for at in range(count)]
    files = photos.photos(max(numbers) + 1, model)
    found = []
    for number in numbers:
        data = files[number].read_bytes()
        for question in photos.QUESTIONS[:per_image]:
            found.append(Asked(data, sha256(data), question, photos.answer_of(number)))
    return found
