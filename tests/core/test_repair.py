"""Repair: the samples that a training broke or didn't fix, and their meetings in the next one."""

from services.core.repair import repair, repeat


def test_broken_samples_are_met_three_times_and_unfixed_ones_twice():
    meetings = repair({}, gap={"new", "newer"}, wrong=["new", "old"])
    assert meetings == {"new": 2, "old": 3}
    samples = ["new", "known", "old", "newer"]
    assert repeat(samples, meetings) == ["new", "new", "known", "old", "old", "old", "newer"]


def test_a_repaired_sample_keeps_its_meetings():
    before = {"new": 2, "old": 3}
    assert repair(before, gap={"new", "newer"}, wrong=["newer"]) == {**before, "newer": 2}


def test_nothing_wrong_changes_nothing():
    assert repeat(["one", "two"], repair({}, gap=["one"], wrong=[])) == ["one", "two"]
