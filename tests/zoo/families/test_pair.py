"""The families' models as they are shipped: size, tokenizer, and scores."""

from pathlib import Path
from statistics import fmean

import pytest

import zoo
from services.core import metrics
from services.core.presets import PRESETS
from services.core.tasks import TASKS, answer_prompt
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

ZOO = Path(zoo.__file__).parent
PAIR = ZOO / "families"
LIMITS = {"teacher": 20_000_000, "student": 5_000_000, "idefics3": 3_000_000}
STUDENTS = ("student", "idefics3")
SEED = 1
"""Not the seed of the benchmark's own pictures."""
PICTURES = 24


def test_the_models_stay_below_their_limits():
    named = {"teacher": "minivqa-teacher", "student": "minivqa", "idefics3": "minivqa-idefics3"}
    assert all(PRESETS[named[name]].parameters <= limit for name, limit in LIMITS.items())
    assert sum(file.stat().st_size for file in ZOO.rglob("*") if file.is_file()) <= 60_000_000


@pytest.mark.parametrize("name", LIMITS)
def test_a_tokenizer_splits_texts_like_the_one_that_the_code_builds(tokenizer, name):
    """The teacher's has some more words, from the questions of its first lessons."""
    from transformers import AutoProcessor

    saved = AutoProcessor.from_pretrained(PAIR / name).tokenizer
    prompts = [TASKS[family.task].annotation_prompt for family in FAMILIES.values()]
    for text in [answer_prompt("what does the red sign say?"), "Größe: 5 €", *prompts]:
        assert saved.tokenize(text) == tokenizer.tokenize(text)
        assert saved.decode(saved(text).input_ids) == text


@pytest.mark.slow
def test_the_teacher_knows_more_than_the_students(tmp_path):
    """The students are no beginners, and the teacher knows what they lack."""
    from zoo.measure import Model

    models = {name: Model(PAIR / name) for name in LIMITS}
    scores = {name: {} for name in LIMITS}
    for family in FAMILIES.values():
        questions = []
        images = []
        for number in range(PICTURES):
            picture = family.draw(Part.TEST, SEED, number)
            path = tmp_path / f"{family.name}-{number}.png"
            picture.image.save(path)
            questions += picture.questions
            images += [path] * len(picture.questions)
        prompts = [answer_prompt(question.text) for question in questions]
        score = getattr(metrics, family.metric)
        for name, model in models.items():
            replies = model.reply(images, prompts)
            scores[name][family.name] = fmean(
                score(reply, question.references)
                for reply, question in zip(replies, questions, strict=True)
            )
    for name in STUDENTS:
        assert all(score > 0.2 for score in scores[name].values()), scores
        assert fmean(scores["teacher"].values()) > fmean(scores[name].values()) + 0.1, scores
