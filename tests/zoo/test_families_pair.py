"""The families' pair as it is shipped: its size, its tokenizer, and what it answers."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from PIL import Image
from transformers import AutoProcessor

import zoo
from services.core import metrics
from services.core.presets import PRESETS
from services.core.tasks import TASKS, answer_prompt
from zoo.families.corpus import build_tokenizer
from zoo.measure import Model
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

ZOO = Path(zoo.__file__).parent
PAIR = ZOO / "families"
LIMITS = {"teacher": 20_000_000, "student": 5_000_000}
SEED, PICTURES = 1, 24
"""Not the benchmark's own pictures, which seed 0 draws."""


def test_the_models_are_as_small_as_they_are_to_be() -> None:
    named = {"teacher": PRESETS["minivqa-teacher"], "student": PRESETS["minivqa"]}
    assert all(named[name].parameters <= limit for name, limit in LIMITS.items())
    assert sum(file.stat().st_size for file in ZOO.rglob("*") if file.is_file()) <= 60_000_000


@pytest.mark.parametrize("name", LIMITS)
def test_a_tokenizer_takes_texts_apart_as_the_one_that_the_code_builds(name: str) -> None:
    """The teacher's has some words more, of questions that its first lessons asked."""
    saved, built = AutoProcessor.from_pretrained(PAIR / name).tokenizer, build_tokenizer()
    prompts = [TASKS[family.task].annotation_prompt for family in FAMILIES.values()]
    for text in [answer_prompt("what does the red sign say?"), "Größe: 5 €", *prompts]:
        assert saved.tokenize(text) == built.tokenize(text)
        assert saved.decode(saved(text).input_ids) == text


@pytest.mark.slow
def test_the_teacher_knows_more_than_the_student(tmp_path: Path) -> None:
    """The student is no beginner; what it lacks is for the teacher to tell."""
    scores: dict[str, dict[str, float]] = {name: {} for name in LIMITS}
    for name in LIMITS:
        model = Model(PAIR / name)
        for family in FAMILIES.values():
            pictures = [family.draw(Part.TEST, SEED, number) for number in range(PICTURES)]
            asked = [
                (save(picture.image, tmp_path), question)
                for picture in pictures
                for question in picture.questions
            ]
            replies = model.reply(
                [path for path, _ in asked], [answer_prompt(question.text) for _, question in asked]
            )
            score = getattr(metrics, family.metric)
            points = [
                score(reply, question.references)
                for reply, (_, question) in zip(replies, asked, strict=True)
            ]
            scores[name][family.name] = sum(points) / len(points)
    assert all(score > 0.2 for score in scores["student"].values()), scores
    assert fmean(scores["teacher"].values()) > fmean(scores["student"].values()) + 0.1, scores


def save(image: Image.Image, folder: Path) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.png"
    image.save(path)
    return path
