"""Rounds that are stopped or killed anywhere, and go on to the same end."""

import os
import signal
from collections import Counter

import pytest

from services.core.errors import MpaError, Unavailable
from tests.orchestrator.cli.test_main import align_arguments, at, run, start
from tests.orchestrator.conftest import rows, with_recipe
from tests.orchestrator.production.test_samples import write_samples
from tests.orchestrator.rounds import CELLS, align, improving, in_ledger, rounds_bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.waiting import until


def climbing(**fields) -> ScriptedStudent:
    return ScriptedStudent(skills={"v1": 0.2}, trained_skill=0.55, trained_later=(0.85,), **fields)


def recorded(folder, number: int) -> int:
    try:
        return rows(folder, f"SELECT count(*) FROM records WHERE round = {number}")[0][0]
    except MpaError:  # not made yet
        return 0


async def test_stopped_anywhere_the_rounds_go_on_to_the_same_end_and_ask_nothing_twice(
    tmp_path, pool
):
    async with rounds_bench(tmp_path / "calm", pool) as calm:
        calm.settings = with_recipe(calm.settings, held_out=0.4)
        whole = await align(calm)
    teacher = ScriptedTeacher()
    finished = Counter()
    asked, stop_at = 0, 150

    def trouble(_):
        nonlocal asked
        asked += 1
        return Unavailable("gone") if asked > stop_at else None

    student = improving(trouble=trouble)
    async with rounds_bench(tmp_path / "run", pool, teacher, student, patience_s=0.05) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        interruptions = 0
        while True:
            try:
                summary = await align(b)
                break
            except MpaError:
                interruptions += 1
                asked = 0
                counted = teacher.keys + student.keys
                finished.update(
                    {key: counted[key] for key in in_ledger(b.folder) if key not in finished}
                )
    assert interruptions > 3
    assert rows(b.folder, CELLS) == rows(calm.folder, CELLS)
    assert b.parity_set() == calm.parity_set()
    assert [row.gap for row in summary.rounds] == [row.gap for row in whole.rounds]
    counted = teacher.keys + student.keys
    assert {key: counted[key] for key in finished} == finished, (
        "what was in the ledger was never asked for again"
    )


@pytest.mark.slow
async def test_killed_in_any_round_the_command_goes_on_to_the_same_end(tmp_path, pool):
    samples = write_samples(
        tmp_path / "samples",
        [(500 + number, f"what color is sign {number}?") for number in range(40)],
    )
    more = ("--rounds", 3, "--redo-rejected", "--production", samples)
    async with rounds_bench(tmp_path / "calm", pool, student=climbing()) as calm:
        code, _, errors = await run(*align_arguments(calm, *more), *at(calm))
        assert code == 0, errors
    teacher, student = ScriptedTeacher(delay_s=0.02), climbing(delay_s=0.02)
    async with rounds_bench(tmp_path / "run", pool, teacher, student) as b:
        for number, records in ((1, 100), (2, 1), (2, 150), (3, 1)):
            process = await start(*align_arguments(b, *more), *at(b))
            await until(
                lambda number=number, records=records: recorded(b.folder, number) >= records
            )
            os.kill(process.pid, signal.SIGKILL)
            await process.communicate()
        code, output, errors = await run(*align_arguments(b, *more), *at(b))
    assert code == 0, errors
    assert "stopped      " in output
    assert rows(b.folder, CELLS) == rows(calm.folder, CELLS)
    assert {number for number, *_ in rows(b.folder, CELLS)} == {1, 2, 3}
    assert b.parity_set() == calm.parity_set()
    for number in (1, 2):
        kept = [
            folder / "rounds" / str(number) / "parity_set.jsonl"
            for folder in (b.folder, calm.folder)
        ]
        assert kept[0].read_text() == kept[1].read_text() != ""
    assert sum(teacher.keys.values()) - len(teacher.keys) <= 2 * 64, (
        "what was in flight in the first round"
    )
