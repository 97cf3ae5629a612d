"""Votes of a teacher's answers on the label of a question."""

import pytest

from benchmarks.minivqa.consensus import vote
from services.core.answers import MATCHERS

MATCHES = MATCHERS["exact"].matches


@pytest.mark.parametrize(
    ("annotation", "answers", "label", "share", "is_decided"),
    [
        ("red", ["blue", "blue", "blue", "blue", "blue"], "blue", 5 / 5.5, True),
        ("red", ["blue", "red", "red", "red", "red"], "red", 4.5 / 5.5, True),
        ("red", ["blue", "green", "blue", "red", "green"], "blue", 2 / 5.5, False),
        ("red", ["Blue.", "blue", "blue", "red"], "Blue.", 3 / 4.5, True),
        ("red", ["blue"], "blue", 1 / 1.5, True),
        ("red", [], "red", 1.0, True),
    ],
)
def test_the_most_voted_answer_is_the_label_if_its_share_suffices(
    annotation, answers, label, share, is_decided
):
    found = vote(annotation, answers, MATCHES)
    assert (found.label, found.is_decided) == (label, is_decided)
    assert found.share == pytest.approx(share)
