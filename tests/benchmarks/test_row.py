"""Arithmetic of a row; speed is for `make bench` to measure."""

import re

import pytest

from benchmarks.row import Pair, Question, percentile

QUESTION = Question(
    name="stream",
    what="answers/s",
    other="offline",
    model="bundled",
    engine="vllm",
    unit="answers/s",
    at_least=0.95,
)
PAIRS = [Pair(10, 20), Pair(30, 10), Pair(9, 10)]


def question(at_least=None, at_most=None):
    return Question(
        name="n",
        what="w",
        other="-",
        model="m",
        engine="e",
        unit="u",
        at_least=at_least,
        at_most=at_most,
    )


def test_the_ratio_is_the_median_of_the_pairs_ratios():
    row = QUESTION.row(PAIRS)
    assert row.ratio == pytest.approx(0.9)  # the medians, 10 and 10, would have 1.0
    assert (row.ours, row.against, row.runs) == (10, 10, 3)
    assert row.spread == (0.5, 3.0)


@pytest.mark.parametrize(
    "at_least, at_most, is_met",
    [
        (0.95, None, False),
        (0.9, None, True),
        (None, 0.9, True),
        (None, 0.8, False),
        (None, None, True),
    ],
)
def test_a_bar_is_a_least_or_a_greatest_ratio(at_least, at_most, is_met):
    assert question(at_least, at_most).row(PAIRS).is_met is is_met


def test_a_count_stands_for_itself():
    lost = question(at_most=0.0)
    assert lost.counted(0, runs=50).is_met
    assert not lost.counted(1, runs=50).is_met
    assert lost.counted(0, runs=50).runs == 50


def test_a_row_names_its_origin():
    row = QUESTION.row(PAIRS, threads=2)
    assert row.conditions == {"threads": 2}
    assert row.command.startswith("python ")
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?", row.commit)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.date)
    assert set(row.machine) == {"cpu", "cores", "memory_gib"}
    assert "python" in row.versions
    assert not row.before


@pytest.mark.parametrize("percent, value", [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles(percent, value):
    assert percentile(range(100, 0, -1), percent) == value
    assert percentile([7.0], percent) == 7.0
