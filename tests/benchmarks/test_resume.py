"""Real mpa-orch processes, killed; `python -m benchmarks.resume` does it twenty times."""

import pytest

from benchmarks.resume import Damage, kill_and_resume


@pytest.mark.slow
async def test_a_run_that_is_killed_repeats_no_finished_call_and_ends_with_the_same_records(
    tmp_path,
):
    damage = await kill_and_resume(tmp_path, images=150, kills=4, seed=1)
    assert damage == Damage(damage.kills, damage.calls, repeated=0, lost=0, duplicated=0)
    assert damage.kills >= 3
    assert damage.calls > 300
