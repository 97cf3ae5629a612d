"""easy-VQA, split for the platform: training images, an unlabeled pool, the test, a dev draw.

Run: python -m zoo.easy_vqa DEST

It writes DEST/pool/*.png, DEST/test/*.png, DEST/dev/*.png, DEST/test.jsonl, DEST/dev.jsonl and
DEST/labels.jsonl, with the kind of each question: four kinds of yes/no questions.

The platform's demo adapts the student to the pool. Neither bundled model was trained on its images,
on the test split or on the dev draw: new scenes in easy-VQA's look, with its mixture of questions.
Recipes are chosen on dev, and a claim about one is made on the test. labels.jsonl contains the
pool's own questions and answers, for experiments that compare with human labels; nothing else reads
it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import easy_vqa
from PIL import Image

from services.core.questions import question_kind
from zoo.shapes import COLORS, SHAPES, Scene, draw_scene, find_answer, find_skill, list_questions

DEV_IMAGES = 250
"""Images of the dev draw, with 2,400 questions."""
OPEN_RATE = 0.32
YES_NO_RATE = 0.08
"""Share of the grammar's questions that easy-VQA asks about an image."""


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


def draw_dev() -> Iterator[tuple[Scene, tuple[Question, ...]]]:
    """The scenes of the dev draw, numbered from 0, and the questions about each."""
    for number in range(DEV_IMAGES):
        rng = random.Random(f"easy-vqa dev {number}")
        scene = draw_scene(rng)
        asked = []
        for text in list_questions():
            answer = find_answer(text, scene.shape, scene.color)
            rate = YES_NO_RATE if answer in ("yes", "no") else OPEN_RATE
            if answer is not None and rng.random() < rate:
                asked.append(Question(text, answer, number))
        yield scene, tuple(asked)


def find_kind(question: str) -> str:
    """The kind of a question: yes/no questions of each skill are a kind of their own."""
    kind = question_kind(question)
    return f"{kind}, {find_skill(question)}" if kind == "yes/no" else kind


def export(destination: Path) -> None:
    """Write pool, test and dev as folders of images, and the labels of each as JSON lines."""
    for name, paths in (("pool", pool_image_paths()), ("test", test_image_paths())):
        (destination / name).mkdir(parents=True, exist_ok=True)
        for image_id, path in paths.items():
            shutil.copyfile(path, destination / name / f"{image_id}.png")
    _write(destination / "test.jsonl", "test", test_questions())
    pool = [question for question in train_questions() if _is_pool(question.image_id)]
    _write(destination / "labels.jsonl", "pool", pool)
    (destination / "dev").mkdir(exist_ok=True)
    asked: list[Question] = []
    for number, (scene, questions) in enumerate(draw_dev()):
        scene.image.save(destination / "dev" / f"{number}.png")
        asked += questions
    _write(destination / "dev.jsonl", "dev", asked)


def _write(path: Path, folder: str, questions: Iterable[Question]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            row = {
                "image": f"{folder}/{question.image_id}.png",
                "question": question.text,
                "answers": [question.answer],
                "kind": find_kind(question.text),
            }
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the pool, the labelled test set and the dev draw of easy-VQA."
    )
    parser.add_argument("destination", type=Path, metavar="DEST")
    export(parser.parse_args().destination)


if __name__ == "__main__":
    main()
