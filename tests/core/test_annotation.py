import pytest

from services.core.annotation import Annotation, Rejection, parse_annotation, question_key
from services.core.tasks import TASKS


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Question: What color is it?\nAnswer: red", Annotation("What color is it?", "red")),
        ("Question: What color is it?, Answer: Red", Annotation("What color is it?", "Red")),
        (
            "**Question:** What is shown?\n\n**Answer:** a cat.",
            Annotation("What is shown?", "a cat"),
        ),
        ("- Question: What is shown\n- Answer: a cat", Annotation("What is shown", "a cat")),
        ("Assistant: question : Is it on?  answer : Yes", Annotation("Is it on?", "Yes")),
        (
            'Question: Who said "why?" here?\nAnswer: Bob',
            Annotation('Who said "why?" here?', "Bob"),
        ),
        (
            "Question 1: One?\nAnswer 1: uno\nQuestion 2: Two?\nAnswer 2: dos",
            Annotation("One?", "uno"),
        ),
        (
            "Question: What\nis it?\nAnswer: a cat\nBecause it purrs.",
            Annotation("What is it?", "a cat"),
        ),
        (
            "Question: one two? Answer: a b c d e f g\nQuestion: Two? Answer: x",
            Annotation("Two?", "x"),
        ),
        ("I see a cat.", Rejection.NO_QUESTION),
        ("", Rejection.NO_QUESTION),
        ("Question: What is it?", Rejection.NO_ANSWER),
        ("Question: What is it?\nAnswer:", Rejection.NO_ANSWER),
        ("Question: Q, Answer: A", Rejection.PLACEHOLDER),
        (
            "Question: What is it?\nAnswer: one two three four five six seven",
            Rejection.ANSWER_TOO_LONG,
        ),
        ("Question: What color is the red ball?\nAnswer: Red", Rejection.ANSWER_IN_QUESTION),
        ("Question: Is it yes or no?\nAnswer: yes", Annotation("Is it yes or no?", "yes")),
        ("Question: " + "x" * 400 + "?\nAnswer: red", Rejection.QUESTION_TOO_LONG),
    ],
)
def test_parse_annotation(reply, expected):
    assert parse_annotation(reply, TASKS["vqa"]) == expected


def test_the_length_cap_is_the_tasks():
    reply = "Question: What do bees make?\nAnswer: a lot of honey"
    assert parse_annotation(reply, TASKS["okvqa"]) is Rejection.ANSWER_TOO_LONG
    assert isinstance(parse_annotation(reply, TASKS["vqa"]), Annotation)


def test_question_key_ignores_marks_and_case():
    assert question_key("What color, is it?") == question_key("what COLOR is it")
