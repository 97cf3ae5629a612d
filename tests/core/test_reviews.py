"""The verdict that counts, whoever has said what and in which order."""

import pytest

from services.core.errors import InvalidInput
from services.core.reviews import (
    Counted,
    Review,
    ReviewState,
    ReviewVerdict,
    checked_review,
    counted,
)


def said(*reviews):
    return [checked_review(*review) for review in reviews]


@pytest.mark.parametrize(
    ("reviews", "state", "correction"),
    [
        ([("ann", "accept")], "accepted", ""),
        ([("ann", "correct", "blue")], "corrected", "blue"),
        ([("ann", "reject")], "rejected", ""),
        ([("ann", "skip")], "skipped", ""),
        ([("ann", "reject"), ("ann", "accept")], "accepted", ""),
        ([("ann", "reject"), ("ann", "skip")], "skipped", ""),
        ([("ann", "reject"), ("bob", "skip")], "rejected", ""),
        ([("ann", "reject"), ("bob", "accept")], "disputed", ""),
        ([("ann", "correct", "Blue"), ("bob", "correct", "blue")], "corrected", "Blue"),
        ([("ann", "correct", "blue"), ("bob", "correct", "green")], "disputed", ""),
        ([("ann", "accept"), ("bob", "reject"), ("eve", "accept")], "accepted", ""),
    ],
)
def test_the_last_verdicts_of_more_than_half_count(reviews, state, correction):
    assert counted(said(*reviews)) == Counted(ReviewState(state), correction)


def test_nobody_has_no_verdict():
    assert counted([]) is None


def test_a_correction_to_the_annotation_itself_accepts_it():
    assert checked_review(" Ann  B ", "correct", " red ", "red") == Review(
        "Ann B", ReviewVerdict.ACCEPT
    )


@pytest.mark.parametrize(
    ("review", "field"),
    [
        (("", "accept"), "reviewer"),
        (("x" * 61, "accept"), "reviewer"),
        (("a\x00b", "accept"), "reviewer"),
        (("ann", "approve"), "verdict"),
        (("ann", "correct", " "), "correction"),
        (("ann", "correct", "re\x00d"), "correction"),
        (("ann", "correct", "x" * 1001), "correction"),
        (("ann", "correct", "\u200b\u200d\ufeff"), "correction"),
        (("ann", "correct", "\u202e\u202c"), "correction"),
        (("ann", "correct", "\u3164 \ufe0f"), "correction"),
        (("\u3164", "accept"), "reviewer"),
    ],
)
def test_a_wrong_field_is_named(review, field):
    with pytest.raises(InvalidInput) as refused:
        checked_review(*review)
    assert refused.value.field == field


@pytest.mark.parametrize("answer", ["0", "-", "€", "🙂", "नमस्ते", "re\u200bd", "e\u0301"])
def test_a_correction_with_anything_to_see_is_one(answer):
    assert checked_review("ann", "correct", answer).correction == answer
