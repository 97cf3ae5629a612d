import random
from collections import Counter

import pytest

from services.core.agreement import Agreement, label_noise, majority


@pytest.mark.parametrize(
    ("agreed", "against", "voters", "expected"),
    [
        (1, 0, 1, True),
        (0, 1, 1, False),
        (0, 0, 1, None),
        (1, 0, 2, None),
        (1, 1, 2, False),  # a tie is wrong
        (0, 1, 2, False),  # and nothing the second could say changes that
        (2, 0, 2, True),
        (2, 0, 3, True),  # the third need not be asked
        (1, 1, 3, None),
        (1, 2, 3, False),
        (2, 1, 4, None),
        (2, 2, 4, False),
        (0, 0, 0, None),
    ],
)
def test_a_majority_decides_as_soon_as_it_is_certain(agreed, against, voters, expected):
    assert majority(agreed, against, voters) is expected


def test_agreement_adds_up_over_teachers_and_no_opinion_is_no_agreement():
    both = Agreement(3, 4) + Agreement(1, 4)
    assert (both.share, both.is_outvoted) == (0.5, True)
    assert not (both + Agreement(1, 1)).is_outvoted
    assert (Agreement().share, Agreement().is_outvoted) == (0.0, False)


def test_records_without_an_opinion_say_nothing_about_the_noise():
    found = label_noise(
        {Agreement(4, 4): 90, Agreement(1, 4): 5, Agreement(2, 4): 5, Agreement(): 50}
    )
    assert (found.count, found.of, found.share) == (10, 100, 0.1)
    assert 0 < found.low < 0.1 < found.high < 0.2


def test_the_estimate_is_the_noise_that_was_put_in():
    """10 % wrong labels, five samples that are right in 85 % of all cases, 300 repetitions."""
    drawn = random.Random(4)
    covered = 0
    estimates = []
    for _ in range(300):
        records = Counter()
        for _ in range(400):
            is_wrong = drawn.random() < 0.1
            right = sum(drawn.random() < 0.85 for _ in range(5))
            records[Agreement(0 if is_wrong else right, 5)] += 1
        found = label_noise(records)
        covered += (
            found.low <= 0.1 + 0.9 * 0.0266 <= found.high
        )  # 2.66 %: three of five samples are wrong by chance
        estimates.append(found.share)
    assert sum(estimates) / 300 == pytest.approx(0.1 + 0.9 * 0.0266, abs=0.005)
    assert covered / 300 > 0.92
