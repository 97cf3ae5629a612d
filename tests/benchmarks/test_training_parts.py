"""The parts of a training are found by the names of their functions."""

import pytest

from benchmarks.minivqa.training_parts import PARTS, measure

pytestmark = pytest.mark.slow


def test_every_part_takes_time(tmp_path):
    found = measure(samples=16, epochs=1, threads=1, folder=tmp_path)
    assert all(found[part] > 0.0 for part in (*PARTS, "process and imports", "version"))
    assert sum(found.values()) == pytest.approx(2 * found["all"])
    assert found["forward"] + found["backward"] < found["all"]
