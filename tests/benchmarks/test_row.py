"""The arithmetic and the format of a row; what is fast is for `make bench` to say."""

import json
from pathlib import Path

import pytest

from benchmarks.row import HEADINGS, Pair, Question, Row, markdown, percentile, show, stored

ROOT = Path(__file__).resolve().parents[2]

QUESTION = Question("stream", "answers/s", "offline", "bundled", "vllm", "answers/s", at_least=0.95)
PAIRS = [Pair(10, 20), Pair(30, 10), Pair(9, 10)]


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
    question = Question("n", "w", "o", "m", "e", "u", at_least=at_least, at_most=at_most)
    assert question.row(PAIRS).is_met is is_met


def test_a_count_stands_for_itself():
    question = Question("swaps", "answers lost", "-", "bundled", "fake", "answers", at_most=0.0)
    assert question.counted(0, runs=50).is_met
    assert not question.counted(1, runs=50).is_met
    assert question.counted(0, runs=50).runs == 50


@pytest.mark.parametrize("percent, value", [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles(percent, value):
    assert percentile(range(100, 0, -1), percent) == value
    assert percentile([7.0], percent) == 7.0


def test_a_row_is_read_as_it_was_written(tmp_path):
    row = QUESTION.row(PAIRS, threads=2)
    path = row.write(tmp_path)
    assert path.name == "stream.json"
    assert Row.read(path) == row
    written = json.loads(path.read_text())
    assert {"name", "ours", "against", "ratio", "spread", "runs", "versions", "machine"} <= set(
        written
    )
    assert set(written["machine"]) == {"cpu", "cores", "memory_gib"}
    assert written["conditions"] == {"threads": 2}
    assert show([row]).row_count == 1


@pytest.mark.parametrize("row", stored(), ids=lambda row: row.name)
def test_what_is_committed_agrees_with_its_own_pairs(row):
    if row.pairs:
        question = Question(
            row.name,
            row.what,
            row.other,
            row.model,
            row.engine,
            row.unit,
            row.at_least,
            row.at_most,
        )
        assert question.row(row.pairs).ratio == pytest.approx(row.ratio)


def test_the_document_has_the_figures_that_were_measured():
    """`python -m benchmarks.row` prints the table."""
    document = (ROOT / "docs" / "benchmarks.md").read_text().splitlines()
    table = [
        line
        for line in document
        if line.startswith("| ") and line.count(" | ") == len(HEADINGS) - 1
    ]
    assert table == markdown(stored())
