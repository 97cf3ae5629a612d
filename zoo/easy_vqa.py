"""easy-VQA, split for the platform: training images, an unlabeled pool, the official test.

Run: python -m zoo.easy_vqa DEST

It writes DEST/pool/*.png, DEST/test/*.png, DEST/test.jsonl and DEST/labels.jsonl.

The platform's demo adapts the student to the pool. Neither bundled model was trained on its images,
nor on the test split. labels.jsonl contains the pool's own questions and answers, for experiments
that compare with human labels; nothing else reads it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import easy_vqa
from PIL import Image

from zoo.shapes import COLORS, SHAPES, Scene, find_answer


@dataclass(frozen=True, slots=True)
class Question:
    """One official question about an image, and its answer."""

    text: str
    answer: str
    image_id: int


def _is_pool(image_id: int) -> bool:
    return image_id % 2 == 0


def pool_image_paths() -> dict[int, Path]:
    """Image id to file of the 2,000 train images that no bundled model was trained on."""
    return {i: path for i, path in _train_image_paths().items() if _is_pool(i)}


def training_image_paths() -> dict[int, Path]:
    """Image id to file of the other 2,000 train images: the teacher's training uses no others."""
    return {i: path for i, path in _train_image_paths().items() if not _is_pool(i)}


def _train_image_paths() -> dict[int, Path]:
    return {i: Path(path) for i, path in sorted(easy_vqa.get_train_image_paths().items())}


def test_image_paths() -> dict[int, Path]:
    """Image id to file of the 1,000 official test images."""
    return {i: Path(path) for i, path in sorted(easy_vqa.get_test_image_paths().items())}


@cache
def test_questions() -> tuple[Question, ...]:
    """The 9,673 official test questions, in their order."""
    return tuple(Question(*row) for row in zip(*easy_vqa.get_test_questions(), strict=True))


@cache
def train_questions() -> tuple[Question, ...]:
    """The 38,575 official train questions, also about the pool: for measuring only."""
    return tuple(Question(*row) for row in zip(*easy_vqa.get_train_questions(), strict=True))


def deduce_contents(questions: tuple[Question, ...]) -> dict[int, tuple[str, str]]:
    """Image id to the (shape, color) that agrees with all its questions.

    Images with several are left out.
    """
    asked: dict[int, list[Question]] = defaultdict(list)
    for question in questions:
        asked[question.image_id].append(question)
    contents = {}
    for image_id, about in asked.items():
        possible = [thing for thing in product(SHAPES, COLORS) if _agrees(about, *thing)]
        if len(possible) == 1:
            contents[image_id] = possible[0]
    return contents


def _agrees(questions: Iterable[Question], shape: str, color: str) -> bool:
    return all(
        find_answer(question.text, shape, color) == question.answer for question in questions
    )


def training_scenes() -> list[Scene]:
    """The scenes of easy-VQA in the teacher's training, none of them from the pool."""
    paths = training_image_paths()
    asked = tuple(question for question in train_questions() if question.image_id in paths)
    return [
        Scene(Image.open(paths[image_id]).convert("RGB"), shape, color)
        for image_id, (shape, color) in sorted(deduce_contents(asked).items())
    ]


def export(destination: Path) -> None:
    """Write pool and test as folders of images, and the labels of each as JSON lines."""
    for name, paths in (("pool", pool_image_paths()), ("test", test_image_paths())):
        (destination / name).mkdir(parents=True, exist_ok=True)
        for image_id, path in paths.items():
            shutil.copyfile(path, destination / name / f"{image_id}.png")
    _write(destination / "test.jsonl", "test", test_questions())
    pool = [question for question in train_questions() if _is_pool(question.image_id)]
    _write(destination / "labels.jsonl", "pool", pool)


def _write(path: Path, folder: str, questions: Iterable[Question]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            row = {
                "image": f"{folder}/{question.image_id}.png",
                "question": question.text,
                "answers": [question.answer],
            }
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the pool and the labelled test set of easy-VQA."
    )
    parser.add_argument("destination", type=Path, metavar="DEST")
    export(parser.parse_args().destination)


if __name__ == "__main__":
    main()
