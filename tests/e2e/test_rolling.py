"""Swaps, and restarts by SIGTERM, under clients of every protocol who repeat nothing."""

import pytest

from benchmarks.protocols import PROTOCOLS

pytestmark = pytest.mark.slow
LOAD = {"swaps": 2, "rounds": 1, "clients": 4}


async def test_replicas_behind_envoy_lose_and_mix_no_answer(tmp_path):
    from benchmarks.rolling import Load, failed, fill_two, restart_replicas

    await fill_two(tmp_path, "fake")
    tallies = await restart_replicas(tmp_path, "fake", Load(**LOAD))
    assert all(tallies[name].seconds for name in PROTOCOLS)
    assert not {name: tally.errors for name, tally in tallies.items() if failed(tally)}


async def test_one_service_answers_all_that_it_accepts(tmp_path):
    from benchmarks.rolling import Load, failed, fill_two, refused, restart_one

    await fill_two(tmp_path, "fake")
    tallies = await restart_one(tmp_path, "fake", Load(**LOAD))
    assert refused(tallies) > 0, "it was not away"
    assert not {name: tally.errors for name, tally in tallies.items() if failed(tally)}
