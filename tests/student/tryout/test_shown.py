"""Answers that may be judged: by whom, and how many are kept."""

import pytest

from services.core.errors import NotFound
from services.student.tryout.shown import MOST, MOST_OF_CALLER, ShownAnswer, ShownAnswers


def answer(caller="a", text="red"):
    return ShownAnswer(caller, "0" * 64, "what?", text, "v1")


def test_an_answer_is_found_by_its_caller_until_it_is_judged():
    shown = ShownAnswers()
    name = shown.keep(answer())
    assert shown.find(name, "a") == answer()
    for other in ((name, "b"), ("", "a"), (name[:-1], "a")):
        with pytest.raises(NotFound, match="can't be judged"):
            shown.find(*other)
    shown.forget(name)
    with pytest.raises(NotFound):
        shown.find(name, "a")


def test_a_caller_who_asks_much_pushes_out_his_own_answers_only():
    shown = ShownAnswers()
    first = shown.keep(answer("quiet"))
    own = [shown.keep(answer("loud")) for _ in range(MOST_OF_CALLER + 5)]
    assert shown.find(first, "quiet")
    for name in own[:5]:
        with pytest.raises(NotFound):
            shown.find(name, "loud")
    assert shown.find(own[5], "loud")


def test_the_latest_answers_of_all_callers_are_kept():
    shown = ShownAnswers()
    names = [shown.keep(answer(str(number))) for number in range(MOST + 3)]
    for number in range(3):
        with pytest.raises(NotFound):
            shown.find(names[number], str(number))
    assert all(shown.find(name, str(number)) for number, name in enumerate(names) if number >= 3)
