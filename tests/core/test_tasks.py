import re

import pytest

from services.core.annotation import Annotation, annotation_pattern, parse_annotation
from services.core.answers import MATCHERS
from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS, METRICS
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt


def test_every_task_names_a_matcher_and_a_metric_that_exist():
    assert set(TASKS) == {
        "textvqa",
        "stvqa",
        "chartqa",
        "okvqa",
        "vqa",
        "pathvqa",
        "ocr",
        "captioning",
    }
    for task in TASKS.values():
        assert task.matcher in MATCHERS
        assert {task.metric, *task.beside} <= METRICS.keys() | CORPUS_METRICS.keys()
        assert f"Question: {task.question or 'Q'}" in task.annotation_prompt
        assert "{question}" in task.answer_template


@pytest.mark.parametrize(
    ("name", "answer"), [("ocr", "Genaxis Theatre"), ("captioning", "A red sign says stop.")]
)
def test_a_reply_in_a_task_with_one_question_is_an_annotation(name, answer):
    task = TASKS[name]
    assert parse_annotation(f"Question: {task.question}\nAnswer: {answer}", task) == Annotation(
        task.question, answer.rstrip(".")
    )


def test_the_question_keeps_its_mark_and_its_braces():
    prompt = answer_prompt("what is {question} on the sign?")
    instruction = "Answer the following question in a single word or phrase."
    assert prompt == f"{instruction}\nwhat is {{question}} on the sign?"


def test_authors_prompt_is_indented_and_has_no_scaffold():
    prompt = RECIPES["authors"].annotation_prompt(TASKS["okvqa"])
    assert "Assistant:" not in prompt
    assert all(line.startswith(" " * 16) for line in prompt.splitlines() if line)
    assert RECIPES["paper"].annotation_prompt(TASKS["okvqa"]) == TASKS["okvqa"].annotation_prompt


def test_a_caption_is_asked_for_in_the_task_s_own_words():
    recipe = RECIPES["rehearsal"].of_task(TASKS["captioning"])
    assert recipe.answer_template == recipe.training_template == "{question}"
    assert recipe.answer_decoding.max_new_tokens == 64
    assert RECIPES["authors"].of_task(TASKS["ocr"]) == RECIPES["authors"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_with_one_question_for_all_images_asks_it_once(task, recipe):
    asked = RECIPES[recipe].of_task(TASKS[task]).questions_per_image
    assert asked == (1 if TASKS[task].question else RECIPES[recipe].questions_per_image)


def test_guided_decoding_has_room_for_a_caption():
    caption = "Question: what?\nAnswer: " + "a long sentence " * 12
    assert re.fullmatch(annotation_pattern(TASKS["captioning"]), caption)
    assert not re.fullmatch(annotation_pattern(TASKS["vqa"]), caption)


@pytest.mark.parametrize(
    "fault",
    [{"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}, {"max_new_tokens": 10**6}],
)
def test_decoding_refuses_what_cannot_be_meant(fault):
    with pytest.raises(InvalidInput):
        Decoding(**fault)
