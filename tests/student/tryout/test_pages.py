"""Texts of models and callers on the page."""

import pytest

from services.student.tryout.desk import Opinion, Question
from services.student.tryout.pages import answers_page, judged_page, trouble_page
from services.student.tryout.shown import ShownAnswer

WICKED = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"' autofocus=\u202edone \ud800"


def asked(text):
    return Question(b"", text, "", 1.0)


@pytest.mark.parametrize(
    "page",
    [
        answers_page(asked(WICKED), [Opinion("live", WICKED, WICKED, judged_as=WICKED)]),
        answers_page(asked("what?"), [Opinion("teacher", trouble=WICKED)]),
        judged_page(ShownAnswer("", "", WICKED, WICKED, WICKED), "up"),
        trouble_page(WICKED, 400, {}),
    ],
    ids=["answers", "trouble of a column", "judged", "trouble"],
)
def test_markup_is_shown_as_text(page):
    text = bytes(page.body).decode()
    assert "<script>" not in text
    assert "<img src" not in text
    assert "\"' autofocus" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_unknown_probabilities_and_cut_answers_are_named():
    known = Opinion("live", "red", "v1", 0.1234, logprob=-0.5)
    cut = Opinion("candidate", "red", "v2", 2.0, is_cut_off=True)
    text = bytes(answers_page(asked("what?"), [known, cut]).body).decode()
    assert "-0.500 (60.7 %)" in text
    assert "0.12 s" in text
    assert "unknown" in text.partition("v2")[2].partition("<template")[0]
