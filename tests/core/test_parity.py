import random

import pytest

from services.core.parity import Cell, Sample, cell, is_held_out, select


@pytest.mark.parametrize(
    ("student_right", "teacher_right", "expected"),
    [
        (False, True, Cell.GAP),
        (True, True, Cell.KNOWN),
        (True, False, Cell.NOISE_STUDENT_RIGHT),
        (False, False, Cell.NOISE_BOTH_WRONG),
        (True, None, Cell.UNASKED),
    ],
)
def test_cells(student_right, teacher_right, expected):
    assert cell(student_right=student_right, teacher_right=teacher_right) is expected


def test_a_wrong_student_needs_the_teachers_word():
    with pytest.raises(ValueError, match="must be asked"):
        cell(student_right=False, teacher_right=None)


def _samples():
    cells = (
        [Cell.GAP] * 10
        + [Cell.UNASKED] * 30
        + [Cell.KNOWN] * 5
        + [Cell.NOISE_BOTH_WRONG] * 7
        + [Cell.NOISE_STUDENT_RIGHT] * 3
    )
    return [Sample(f"{at:064x}", f"q{at}?", "a", of) for at, of in enumerate(cells)]


def test_the_paper_selects_exactly_the_gap():
    assert {sample.cell for sample in select(_samples())} == {Cell.GAP}
    assert len(select(_samples())) == 10


def test_rehearsal_adds_known_samples_at_its_ratio_and_never_noise():
    chosen = select(_samples(), rehearsal_ratio=1.5)
    assert sum(sample.cell is Cell.GAP for sample in chosen) == 10
    assert sum(sample.cell in (Cell.UNASKED, Cell.KNOWN) for sample in chosen) == 15
    assert len(chosen) == 25


def test_selection_does_not_depend_on_the_order_of_arrival():
    shuffled = _samples()
    random.Random(1).shuffle(shuffled)
    assert select(shuffled, 1.0) == select(_samples(), 1.0)


def test_held_out_is_a_property_of_the_image():
    names = [random.Random(at).randbytes(32).hex() for at in range(4000)]
    share = sum(is_held_out(name, 0.15) for name in names) / len(names)
    assert 0.13 < share < 0.17
    assert not any(is_held_out(name, 0.0) for name in names)
