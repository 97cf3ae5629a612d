"""The parts of a training are found by the names of their functions."""

import pytest

from benchmarks.minivqa.training_parts import PARTS, Work, measure

pytestmark = pytest.mark.slow


def test_every_part_takes_time(tmp_path):
    work = Work(samples=16, epochs=1, jobs=1, versions=True)
    found = measure(work, threads=1, folder=tmp_path)
    assert all(found[part] > 0.0 for part in (*PARTS, "process and imports", "versions"))
    assert sum(found.values()) == pytest.approx(2 * found["all"])
    assert found["forward"] + found["backward"] < found["all"]
