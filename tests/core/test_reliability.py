import pytest

from services.core.reliability import NO_ANSWERS, reliability


def test_the_error_is_the_weighted_distance_of_shares_from_probabilities():
    sure = [(0.9, serial < 3) for serial in range(10)]
    unsure = [(0.2, serial < 6) for serial in range(30)]
    found = reliability([*sure, *unsure, (1.0, True), (0.0, False)])
    assert found.answers == 42
    assert [part.answers for part in found.bins] == [1, 0, 30, 0, 0, 0, 0, 0, 0, 11]
    assert found.bins[9].share.expected == pytest.approx(4 / 11)
    assert found.bins[2].probability == pytest.approx(0.2)
    assert found.error == pytest.approx(abs(4 - 10) / 42)
    assert found.bins[2].share.low < 0.2 < found.bins[2].share.high


def test_nothing_is_known_without_answers():
    assert reliability([]) == NO_ANSWERS
    assert NO_ANSWERS.error == NO_ANSWERS.answers == 0
