"""The table file, and the table of docs/benchmarks.md that is made from it."""

from dataclasses import replace

import pytest

from benchmarks.results import keep, read_results
from benchmarks.row import Question
from benchmarks.table import DOCUMENT, documented, markdown, show
from tests.benchmarks.test_row import PAIRS, QUESTION


def test_a_row_is_read_as_it_was_kept(tmp_path):
    row = QUESTION.row(PAIRS, threads=2)
    keep(row, tmp_path / "results.jsonl")
    assert read_results(tmp_path / "results.jsonl") == [row]


def test_a_row_takes_the_place_of_the_one_with_its_name(tmp_path):
    path = tmp_path / "results.jsonl"
    first, other = QUESTION.row(PAIRS), replace(QUESTION, name="latency").row(PAIRS)
    again = QUESTION.row(PAIRS[:2])
    for row in (first, other, again):
        keep(row, path)
    assert read_results(path) == [other, again]
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("row", read_results(), ids=lambda row: row.name)
def test_committed_rows_agree_with_their_own_pairs(row):
    if row.pairs:
        again = Question.row(row, row.pairs)
        assert (again.ours, again.against) == pytest.approx((row.ours, row.against))
        assert (again.ratio, *again.spread) == pytest.approx((row.ratio, *row.spread))


def test_an_older_row_is_marked():
    row = replace(QUESTION.row(PAIRS), date="2026-11-24", before="the limits")
    assert markdown([row]).endswith("| 2026-11-24, before the limits |\n")
    assert show([row]).row_count == 1


def test_the_document_has_the_measured_figures():
    """`python -m benchmarks.table` writes them."""
    document = DOCUMENT.read_text()
    assert document == documented(document, read_results())
    assert markdown(read_results()) in document
