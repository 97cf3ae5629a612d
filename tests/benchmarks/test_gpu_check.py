import asyncio
import json

from benchmarks.gpu_check.outcome import Figure, Outcome, markdown, write
from benchmarks.gpu_check.parts import Part, run_parts


async def works():
    return [Figure("speed", 12.5, "photos/s", "8 photos")]


async def fails():
    raise RuntimeError("the driver | is old")


async def hangs():
    await asyncio.Event().wait()


async def test_a_failed_part_is_named_and_the_next_one_runs():
    kept = []
    parts = [Part("bad", fails), Part("good", works)]
    outcomes = await run_parts(parts, 60, lambda found: kept.append(len(found)))
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert kept == [1, 2]
    table = markdown(outcomes)
    assert "| bad | failed | 0 |  |  | RuntimeError: the driver / is old |" in table
    assert "| good | done | 0 | speed | 12.5 photos/s | 8 photos |" in table


async def test_the_time_ends_a_part_and_leaves_out_the_rest():
    parts = [Part("slow", hangs), Part("late", works)]
    outcomes = await run_parts(parts, 0.05, lambda found: None)
    assert [outcome.state for outcome in outcomes] == ["failed", "left out"]
    assert "the time was up" in outcomes[0].error


def test_the_report_says_where_it_was_made(tmp_path):
    write(tmp_path, "tiny", [Outcome("serve", 1.0, (Figure("a", 1, "GiB"),))])
    report = json.loads((tmp_path / "gpu-check.json").read_text())
    assert report["parts"][0]["state"] == "done"
    assert report["origin"]["machine"]["cores"] > 0
    assert isinstance(report["gpus"], list)
