"""Non-inferiority: the interval holds for few questions, and decides only what it shows."""

import math
import random

import pytest

from services.core.errors import InvalidInput
from services.core.intervals import Z_95, paired_difference
from services.core.noninferiority import (
    BOOTSTRAPPED,
    OTHER,
    Conclusion,
    ScorePair,
    compare_kinds,
    compare_pairs,
    design_effect,
    further_questions,
    require_margin,
)


def pairs(both: int, won: int, lost: int, kind: str = "color", at: int = 0) -> list[ScorePair]:
    """Pairs with an image each: both right, only the new model right, only the old one right."""
    scores = [(1.0, 1.0)] * both + [(1.0, 0.0)] * won + [(0.0, 1.0)] * lost
    return [ScorePair(f"{kind}-{at + n}", kind, *score) for n, score in enumerate(scores)]


def likelihood(won: int, lost: int, questions: int, difference: float, losing: float) -> float:
    """Log-likelihood of a share of lost questions, and of a share of won ones to match it."""
    shares = (losing + difference, losing, 1 - 2 * losing - difference)
    counts = (won, lost, questions - won - lost)
    return sum(n * math.log(share) for n, share in zip(counts, shares, strict=True) if n)


@pytest.mark.parametrize("won, lost, questions", [(3, 12, 44), (40, 20, 160), (1, 5, 400)])
def test_the_ends_of_the_score_interval_are_where_its_statistic_is_significant(
    won, lost, questions
):
    """The likeliest shares that have the difference are searched here, and solved there."""
    found = paired_difference(won, lost, questions)
    for end in (found.low, found.high):
        least, most = max(0.0, -end), (1 - end) / 2
        losing = max(
            (least + (most - least) * step / 10_000 for step in range(1, 10_000)),
            key=lambda share: likelihood(won, lost, questions, end, share),
        )
        variance = questions * (2 * losing + end - end * end)
        z = (won - lost - questions * end) / math.sqrt(variance)
        assert abs(z) == pytest.approx(Z_95, abs=2e-3)


def test_without_a_change_the_score_interval_has_a_closed_form():
    found = paired_difference(0, 0, 100)
    assert -found.low == pytest.approx(Z_95**2 / (100 + Z_95**2))
    assert found.high == pytest.approx(-found.low)


def test_nothing_asked_is_nothing_known():
    found = compare_pairs([], 0.05)
    assert found.conclusion is Conclusion.OPEN
    assert found.more is None
    assert (found.difference.low, found.difference.high) == (-1.0, 1.0)


def test_a_few_equal_answers_prove_nothing():
    """A bootstrap alone would be certain of it."""
    found = compare_pairs(pairs(20, 0, 0), 0.05)
    assert found.conclusion is Conclusion.OPEN
    assert compare_pairs(pairs(200, 0, 0), 0.05).conclusion is Conclusion.YES


@pytest.mark.parametrize(
    "lost, conclusion", [(2, Conclusion.YES), (24, Conclusion.OPEN), (60, Conclusion.NO)]
)
def test_the_margin_decides_by_the_whole_interval(lost, conclusion):
    found = compare_pairs(pairs(400 - lost, 0, lost), 0.05)
    assert found.conclusion is conclusion
    assert (found.more is None) == (conclusion is not Conclusion.OPEN)


def test_questions_of_an_image_count_as_one_draw():
    apart = [ScorePair(str(n), "k", float(n % 10 > 0), 1.0) for n in range(400)]
    together = [ScorePair(str(n % 40), "k", float(n % 10 > 0), 1.0) for n in range(400)]
    one, other = (compare_pairs(found, 0.2).difference for found in (apart, together))
    assert other.high - other.low > 2 * (one.high - one.low)


def test_few_images_with_many_questions_each_prove_as_little_as_few_questions():
    """A loss of 5 points as one image in 20 leaves ten images alone in 60 % of the cases."""
    alike = [ScorePair(str(n % 10), "k", 1.0, 1.0) for n in range(200)]
    found = compare_pairs(alike, 0.05)
    assert found.conclusion is Conclusion.OPEN
    assert found.more == 73 * 20 - 200
    lost = [ScorePair(str(n % 20), "k", float(n % 20 > 0), 1.0) for n in range(400)]
    few = paired_difference(0, 1, 20)
    assert compare_pairs(lost, 0.1).difference.low == pytest.approx(few.low, abs=1e-6)


def test_questions_of_an_image_that_change_apart_count_in_full():
    assert design_effect([0.0, -1.0] * 100, [str(n // 2) for n in range(200)]) == 1.0
    assert design_effect([], []) == 1.0


@pytest.mark.parametrize("margin, needed", [(0.05, 73), (0.02, 189)])
def test_unchanged_answers_decide_from_the_number_on_that_is_named(margin, needed):
    found = compare_pairs(pairs(20, 0, 0), margin)
    assert found.more == needed - 20
    assert compare_pairs(pairs(needed - 1, 0, 0), margin).conclusion is Conclusion.OPEN
    assert compare_pairs(pairs(needed, 0, 0), margin).conclusion is Conclusion.YES


def test_many_images_have_the_interval_of_a_bootstrap():
    few, many = (
        compare_pairs(
            [ScorePair(str(n // 2), "k", float(n // 2 % 5 > 0), 1.0) for n in range(2 * images)],
            0.2,
        ).difference
        for images in (BOOTSTRAPPED, BOOTSTRAPPED + 5)
    )
    assert many.low == pytest.approx(few.low, abs=0.004)
    assert many.high == pytest.approx(few.high, abs=0.004)


def test_the_further_questions_would_decide_in_most_cases():
    first = compare_pairs(pairs(380, 6, 14), 0.04)
    assert first.conclusion is Conclusion.OPEN
    assert first.more is not None
    total = 400 + first.more
    draw = random.Random(0)
    decided = 0
    for _ in range(200):
        drawn = draw.choices((0, 1, -1), (380, 6, 14), k=total)
        found = paired_difference(drawn.count(1), drawn.count(-1), total)
        decided += found.low > -0.04
    assert 140 <= decided <= 190, decided


def test_no_number_of_questions_decides_a_difference_of_the_margin():
    found = compare_pairs(pairs(95, 0, 5), 0.05)
    assert found.conclusion is Conclusion.OPEN
    assert further_questions(found.difference, 100, 0.05) is None


def test_kinds_are_held_to_a_stricter_level_and_small_ones_are_put_together():
    found = compare_kinds(
        [*pairs(300, 0, 0, "a"), *pairs(100, 0, 40, "b"), *pairs(4, 0, 0, "c")], 0.05
    )
    assert list(found.kinds) == ["a", "b", OTHER]
    assert found.kinds["a"].conclusion is Conclusion.YES
    assert found.kinds["b"].conclusion is Conclusion.NO
    assert found.kind_level == pytest.approx(1 - 0.05 / 3)
    assert found.kinds["a"].difference.low < compare_pairs(pairs(300, 0, 0), 0.05).difference.low


@pytest.mark.parametrize("margin", [0, -1, 100])
def test_a_margin_is_between_nothing_and_everything(margin):
    with pytest.raises(InvalidInput, match="--margin"):
        require_margin(margin, "--margin")
