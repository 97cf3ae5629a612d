import random

import pytest

from services.core.intervals import (
    bootstrap,
    difference,
    holm,
    mcnemar_p,
    paired,
    paired_difference,
    spearman,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes, trials, low, high):
    found = wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.expected == successes / trials


def test_nothing_is_known_without_trials_and_everything_with_all():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    all_of_them = wilson(30, 100, population=100)
    assert (all_of_them.low, all_of_them.expected, all_of_them.high) == (0.3, 0.3, 0.3)


def test_a_large_part_of_the_population_says_more_than_the_same_count_of_many():
    many, few = wilson(30, 100, population=10**9), wilson(30, 100, population=200)
    assert many.low == pytest.approx(wilson(30, 100).low)
    assert few.high - few.low < 0.8 * (many.high - many.low)


@pytest.mark.parametrize("count", [5, 40, 200])
def test_it_holds_in_about_19_of_20_draws(count):
    population = [number < count for number in range(400)]
    chance = random.Random(0)
    hits = 0
    for _ in range(500):
        found = wilson(sum(chance.sample(population, 60)), 60, population=400)
        hits += found.low <= count / 400 <= found.high
    assert hits >= 0.9 * 500


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), Table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
    ],
)
def test_a_difference_as_published(one, other, low, high):
    found = difference(wilson(*one), wilson(*other))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.expected == pytest.approx(one[0] / one[1] - other[0] / other[1])


@pytest.mark.parametrize(("fixed", "broken"), [(0.1, 0.1), (0.3, 0.05), (0.02, 0.0)])
def test_a_gain_on_the_same_questions_is_within_its_interval_in_about_19_of_20_draws(fixed, broken):
    chance = random.Random(0)
    hits = 0
    for _ in range(1000):
        drawn = [chance.random() for _ in range(60)]
        found = paired_difference(
            sum(d < fixed for d in drawn), sum(fixed <= d < fixed + broken for d in drawn), 60
        )
        assert -1 <= found.low <= found.expected <= found.high <= 1
        hits += found.low <= fixed - broken <= found.high
    assert 930 <= hits <= 1000


def test_a_gain_without_questions_or_without_doubt():
    assert paired_difference(0, 0, 0).low == -1
    assert paired_difference(10, 0, 10).high == 1
    gain, loss = paired_difference(30, 10, 100), paired_difference(10, 30, 100)
    assert (gain.low, gain.expected) == (-loss.high, -loss.expected)


def test_the_interval_of_a_mean_is_drawn_by_group():
    scores = [(str(n), float(n % 4 == 0)) for n in range(400)]
    found = bootstrap(scores)
    assert found == bootstrap(scores)
    assert found.expected == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.006)
    assert found.high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.006)
    # Ten questions per image that are always right or wrong together tell no more than one.
    together = bootstrap([(str(n // 10), float(n // 10 % 4 == 0)) for n in range(400)])
    assert together.high - together.low > 2.5 * (found.high - found.low)
    assert bootstrap([]).low == bootstrap([]).high == 0.0


def simulated(chance, effect=0.0, seeds=5, questions=40, between_seeds=0.02):
    """Differences of two arms: noise of questions, of trainings, and of each answer."""
    hard = [chance.gauss(0, 0.3) for _ in range(questions)]
    found = []
    for _ in range(seeds):
        shift = effect + chance.gauss(0, between_seeds)
        found.append([shift + one + chance.gauss(0, 0.3) for one in hard])
    return found, list(map(str, range(questions)))


def test_an_effect_is_within_its_interval_in_about_19_of_20_experiments():
    chance = random.Random(0)
    found = [paired(*simulated(chance, 0.1)) for _ in range(60)]
    hits = sum(one.interval.low <= 0.1 <= one.interval.high for one in found)
    assert hits >= 54
    assert sum(one.p < 0.05 for one in found) > 20


def test_no_effect_is_found_in_about_one_of_20_experiments_and_in_fewer_after_holm():
    chance = random.Random(1)
    found = [paired(*simulated(chance)).p for _ in range(60)]
    assert 1 <= sum(p < 0.05 for p in found) <= 7
    experiments = [found[at : at + 10] for at in range(0, 60, 10)]
    assert sum(min(holm(of)) < 0.05 for of in experiments) <= 1


def test_seeds_that_differ_widen_the_interval_and_one_seed_says_nothing_about_them():
    chance = random.Random(2)
    alike, groups = simulated(chance, between_seeds=0.0)
    apart = [
        [score + shift for score in of] for of, shift in zip(alike, (-2, -1, 0, 1, 2), strict=True)
    ]
    narrow, wide = paired(alike, groups).interval, paired(apart, groups).interval
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    # Standard error of the mean of (-2, -1, 0, 1, 2).
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * 0.707, rel=0.15)
    assert paired(alike[:1], groups).interval == bootstrap(zip(groups, alike[0], strict=True))
    assert paired([], []).p == 1.0


def test_a_certain_effect_and_none_at_all():
    groups = ["a", "b", "c"]
    assert paired([[1.0] * 3] * 2, groups).p == 0.0
    assert paired([[0.0] * 3] * 2, groups).p == 1.0


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [  # by hand: ordered values times 4, 3, 2, 1, and never below the one before
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 1024), (9, 1, 22 / 1024), (1, 0, 1.0)],
)
def test_mcnemar_is_the_exact_binomial(fixed, broken, p):
    assert mcnemar_p(fixed, broken) == pytest.approx(p)
    assert mcnemar_p(broken, fixed) == pytest.approx(p)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1, 2, 3], [10, 20, 90], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 4], [1, 3, 2, 4], 0.9486832980505138),
        ([0.5, 0.5], [1, 2], None),
        ([0.5], [1], None),
    ],
)
def test_rank_correlation(one, other, wanted):
    assert spearman(one, other) == (wanted if wanted is None else pytest.approx(wanted))
