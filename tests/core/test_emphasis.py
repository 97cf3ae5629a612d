"""How often samples are met: by cell, by kind, and never too often."""

import random
from collections import Counter

import pytest

from services.core.emphasis import MOST_MEETINGS, emphasize, meetings
from services.core.parity import Cell, Sample


def samples(**sizes):
    """Samples of cell and kind: `gap_how=4` is four of the gap that ask "how many"."""
    kinds = {"how": "how many of {}?", "color": "what color is {}?", "is": "is it {}?"}
    found = []
    for name, size in sizes.items():
        cell, _, kind = name.partition("_")
        of = Cell.GAP if cell == "gap" else Cell.UNASKED
        for _ in range(size):
            number = len(found)
            found.append(Sample(f"{number:064x}", kinds[kind].format(number), "a", of))
    return random.Random(0).sample(found, len(found))


def by_cell(met):
    return Counter(sample.cell for sample in met)


def test_gap_samples_are_met_more_often_in_as_many_steps():
    pool = samples(gap_how=100, known_how=300)
    met = emphasize(pool, 2.0, passes=3)
    assert len(met) == 3 * len(pool)
    cells = by_cell(met)
    assert cells[Cell.GAP] / 100 == pytest.approx(2 * cells[Cell.UNASKED] / 300, rel=0.02)
    assert by_cell(emphasize(pool, 1.0, passes=1)) == {Cell.GAP: 100, Cell.UNASKED: 300}


def test_kinds_are_met_by_the_square_root_of_their_number():
    pool = samples(gap_how=16, gap_color=144, known_how=25, known_is=400)
    met = emphasize(pool, 1.0, passes=10)
    of = Counter((sample.cell, sample.question.split()[0]) for sample in met)
    assert of[Cell.GAP, "what"] == pytest.approx(3 * of[Cell.GAP, "how"], abs=3)
    assert of[Cell.UNASKED, "how"] == 10 * 25 * MOST_MEETINGS, "as often as it may be"
    assert of[Cell.UNASKED, "is"] == 10 * 425 - 10 * 25 * MOST_MEETINGS, "the rest"


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 100.0])
@pytest.mark.parametrize("passes", [1, 2, 7])
def test_no_sample_is_met_more_than_three_times_a_pass_and_none_is_forgotten(ratio, passes):
    pool = samples(gap_how=3, gap_color=40, known_how=2, known_color=100, known_is=31)
    met = Counter(emphasize(pool, ratio, passes))
    assert met.total() == passes * len(pool)
    assert max(met.values()) <= MOST_MEETINGS * passes
    rates = meetings(pool, ratio)
    for sample, count in met.items():
        kind = "yes/no" if sample.question.startswith("is") else sample.question[:8].strip()
        (rate,) = (
            of
            for (is_gap, name), of in rates.items()
            if is_gap is (sample.cell is Cell.GAP) and name.startswith(kind)
        )
        assert abs(count - passes * rate) < 1


@pytest.mark.parametrize(
    "pool", [[], samples(gap_how=5), samples(known_how=5), samples(gap_how=50, known_how=1)]
)
def test_one_cell_alone_is_met_as_often_as_ever(pool):
    assert len(emphasize(pool, 3.0, passes=2)) == 2 * len(pool)
