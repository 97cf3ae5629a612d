"""Texts of callers: length, number of questions, complete characters."""

import pytest

from services.core.errors import InvalidInput
from services.core.knowledge_gaps import CATEGORIES, Mistake, judge_prompt
from services.core.tasks import TASKS, answer_prompt
from services.rpc.limits import (
    MAX_PROMPT_CHARS,
    MAX_QUESTION_CHARS,
    MAX_TEMPLATE_CHARS,
    check_prompt,
    check_question,
    check_template,
)


@pytest.mark.parametrize(
    "template",
    ["", "{question}", "Say: {question}\n", *(task.answer_template for task in TASKS.values())],
)
def test_a_template_holds_the_question_once(template):
    assert check_template(template, "template") == template


@pytest.mark.parametrize(
    ("template", "reason", "message"),
    [
        ("{question}" * 2000, "TEXT_TOO_LONG", "template has 20,000 characters"),
        ("{question} {question}", "TEMPLATE_INVALID", "2 times"),
        ("Say red.", "TEMPLATE_INVALID", "0 times"),
        ("{question:>1000000000}", "TEMPLATE_INVALID", "0 times"),
        (" ", "TEMPLATE_INVALID", "0 times"),
        ("{question}" + "x" * MAX_TEMPLATE_CHARS, "TEXT_TOO_LONG", "at most 2,000"),
        ("{question}\ud800", "TEXT_NOT_UNICODE", "character 11"),
    ],
)
def test_any_other_template_is_refused(template, reason, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        check_template(template, "template")
    assert (refused.value.reason, refused.value.field) == (reason, "template")


def test_what_is_asked_is_never_longer_than_both():
    question, template = "x" * MAX_QUESTION_CHARS, "{question}".ljust(MAX_TEMPLATE_CHARS, "y")
    asked = answer_prompt(check_question(question), check_template(template, "template"))
    assert len(asked) == MAX_QUESTION_CHARS + MAX_TEMPLATE_CHARS - len("{question}")
    assert answer_prompt("{question}{question}", "{question}") == "{question}{question}", (
        "a question is no template"
    )


@pytest.mark.parametrize("task", CATEGORIES)
def test_a_judges_template_is_taken_whatever_the_answers_are(task):
    found = judge_prompt(Mistake("why?", "{question}", "x" * 500 + "{question}"), CATEGORIES[task])
    assert check_template(found, "template") == found


@pytest.mark.parametrize(
    "text", ["<|image_pad|>", "a\0b", "\N{FIRE}" * 100, "日本語", "\x1b[31m", "{question}"]
)
def test_any_characters_may_be_asked(text):
    assert check_question(f" {text} ") == text
    assert check_prompt(text, "prompt") == text


@pytest.mark.parametrize(
    ("check", "text", "reason"),
    [
        (check_question, "", "QUESTION_EMPTY"),
        (check_question, "\ud800", "TEXT_NOT_UNICODE"),
        (check_question, "what?\udfff", "TEXT_NOT_UNICODE"),
        (check_question, "x" * (MAX_QUESTION_CHARS + 1), "QUESTION_TOO_LONG"),
        (lambda text: check_prompt(text, "prompt"), "\ud83d", "TEXT_NOT_UNICODE"),
        (lambda text: check_prompt(text, "prompt"), "x" * (MAX_PROMPT_CHARS + 1), "TEXT_TOO_LONG"),
    ],
)
def test_other_texts_are_refused_with_a_reason(check, text, reason):
    with pytest.raises(InvalidInput) as refused:
        check(text)
    assert refused.value.reason == reason
