import pytest

from services.core.answers import MATCHERS
from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.metrics import METRICS
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt


def test_every_task_names_a_matcher_and_a_metric_that_exist():
    assert set(TASKS) == {"textvqa", "stvqa", "chartqa", "okvqa", "vqa"}
    for task in TASKS.values():
        assert task.matcher in MATCHERS
        assert task.metric in METRICS
        assert "Question: Q" in task.annotation_prompt


def test_the_question_keeps_its_mark_and_its_braces():
    prompt = answer_prompt("what is {question} on the sign?")
    assert prompt == "Answer the following question in a single word or phrase.\nwhat is {question} on the sign?"


def test_authors_prompt_is_indented_and_has_no_scaffold():
    prompt = RECIPES["authors"].annotation_prompt(TASKS["okvqa"])
    assert "Assistant:" not in prompt
    assert all(line.startswith(" " * 16) for line in prompt.splitlines() if line)
    assert RECIPES["paper"].annotation_prompt(TASKS["okvqa"]) == TASKS["okvqa"].annotation_prompt


@pytest.mark.parametrize("fault", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}, {"max_new_tokens": 10**6}])
def test_decoding_refuses_what_cannot_be_meant(fault):
    with pytest.raises(InvalidInput):
        Decoding(**fault)
