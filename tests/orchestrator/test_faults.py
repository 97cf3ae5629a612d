"""Faults around a run: failing, slow and replaced services, a full disk, a clock that jumps."""

import ast
import asyncio
import os
import resource
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import InvalidInput, MpaError, Unavailable, WrongState
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.pictures import numbered_png

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "until"),
    [(MpaError("a bug"), 20), (Unavailable("gone for a moment"), 10_000)],
    ids=["bug", "away"],
)
async def test_errors_in_a_tenth_of_the_calls_cost_time_and_nothing_else(
    tmp_path, pool, error, until
):
    """A call that meets a bug three times is given up, which some would by chance: so there
    are only two of a kind.
    """

    def failing():
        calls = Counter()

        def trouble(kind):
            calls[kind] += 1
            return error if calls[kind] % 10 == 0 and calls[kind] <= until else None

        return trouble

    async with bench(tmp_path / "calm", pool, recipe="paper") as calm:
        await calm.align()
    teacher, student = ScriptedTeacher(trouble=failing()), ScriptedStudent(trouble=failing())
    async with bench(tmp_path / "run", pool, teacher, student, recipe="paper") as b:
        summary = await b.align()
    assert summary.rejected == {}
    assert b.parity_set() == calm.parity_set()


async def test_a_slow_service_is_waited_for(tmp_path, pool):
    async with bench(tmp_path / "calm", pool, recipe="paper") as calm:
        await calm.align()
    teacher, student = ScriptedTeacher(), ScriptedStudent(delay_s=0.4)
    async with bench(tmp_path / "run", pool, teacher, student, recipe="paper") as b:
        await b.align()
    assert b.parity_set() == calm.parity_set()


class Babbler(ScriptedStudent):
    """Its first version says anything but an answer."""

    def says(self, text):
        if text != "unknown" or self.live != "v1":
            return text
        return ("", "\x00\ufffd\u202e" * 500, "```json\n{" * 50, " \n\t")[self.calls.total() % 4]


async def test_a_student_that_talks_garbage_is_wrong_and_the_run_goes_on(tmp_path, pool):
    async with bench(
        tmp_path / "calm", pool, student=ScriptedStudent(skills={"v1": 0.0}), recipe="paper"
    ) as calm:
        await calm.align()
    async with bench(
        tmp_path / "run", pool, student=Babbler(skills={"v1": 0.0}), recipe="paper"
    ) as b:
        summary = await b.align()
    assert summary.rejected == {}
    assert b.parity_set() == calm.parity_set() != ""


@pytest.mark.parametrize("role", ["teacher", "student"])
async def test_whoever_answers_garbage_at_an_address_is_no_service(tmp_path, pool, role):
    async def babble(_, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 100)
        writer.close()

    async with (
        bench(tmp_path / "run", pool, patience_s=0.5) as b,
        await asyncio.start_server(babble, "127.0.0.1", 0) as other,
    ):
        at = f"127.0.0.1:{other.sockets[0].getsockname()[1]}"
        b.where = replace(b.where, **{role: at})
        with pytest.raises(Unavailable, match=f"{role} at {at}"):
            await b.align()
    assert b.teacher.calls.total() + b.student.calls.total() == 0


async def test_an_image_that_becomes_another_one_stops_the_run_until_it_is_put_back(tmp_path, pool):
    student = ScriptedStudent(
        trouble=lambda _: Unavailable("gone") if student.calls.total() > 40 else None
    )
    async with bench(tmp_path / "run", pool, student=student, patience_s=0.1, recipe="paper") as b:
        with pytest.raises(Unavailable):
            await b.align()
        student.trouble = lambda _: None
        held = rows(
            b.folder,
            "SELECT image_sha256, question FROM answers "
            "WHERE role = 'teacher' AND step = 'identify'",
        )
        ((due,),) = rows(b.folder, "SELECT min(path) FROM images WHERE step < 2")
        was = (pool / due).read_bytes()
        (pool / due).write_bytes(numbered_png(999))
        with pytest.raises(
            InvalidInput, match=f"{due} has changed since this run saw it: put it back"
        ):
            await b.align()
        (pool / due).write_bytes(was)
        await b.align()
    assert {b.teacher.keys["answer", *one] for one in held} == {1}, (
        "what the ledger held is not asked again"
    )


async def test_a_student_that_is_replaced_in_the_middle_stops_the_run_for_good(tmp_path, pool):
    student = ScriptedStudent(weights={"v1": "a" * 64})

    def replaced(_):
        student.weights["v1"] = ("b" if student.calls.total() > 50 else "a") * 64

    student.trouble = replaced
    async with bench(tmp_path / "run", pool, student=student, recipe="paper") as b:
        with pytest.raises(
            WrongState,
            match="has other weights than the student of this run, and both have answered",
        ):
            await b.align()
        student.trouble = lambda _: None
        student.weights["v1"] = "a" * 64
        with pytest.raises(WrongState, match="both have answered"):
            await b.align()
    assert student.trainings == []


WALL_CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.strftime",
    "datetime.now",
    "datetime.utcnow",
}
TELLS_THE_DATE = {
    "services/orchestrator/cli/reach.py",  # in the name of a folder
    "services/orchestrator/endpoints/cache.py",  # times of replies, for pruning by age
    "services/orchestrator/experiments/uses.py",  # of a use of the test draw
    "services/orchestrator/exports/tracking.py",  # of an export
    "services/orchestrator/reports/cache.py",
    "services/orchestrator/reports/keys.py",  # keys expire at a date
    "services/orchestrator/ui/rendering.py",  # in a page: when its figures were counted
    "services/orchestrator/ui/review_desk.py",  # of a review
    "services/orchestrator/ui/upkeep.py",
    "services/rpc/access/audit_log.py",
    "services/rpc/access/keys.py",
    "services/rpc/access/ring.py",
    "services/rpc/http/completions/replies.py",  # of a reply, as OpenAI's API has it
}


def test_a_clock_that_jumps_is_looked_at_for_dates_alone():
    """Waits, timeouts, measurements and counted hours use the monotonic clock."""
    found = set()
    for folder in ("services/orchestrator", "services/rpc"):
        for module in (ROOT / folder).rglob("*.py"):
            named = {
                f"{node.value.id}.{node.attr}"
                for node in ast.walk(ast.parse(module.read_text()))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            }
            if named & WALL_CLOCKS:
                found.add(module.relative_to(ROOT).as_posix())
    assert found == TELLS_THE_DATE


WITH_SMALL_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program that can't write beyond a size.

A limit set by preexec_fn takes a fork, whose copy grpc's handlers sometimes abort.
"""


@pytest.mark.slow
async def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(tmp_path, pool):
    async def align(b, limit_bytes):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WITH_SMALL_FILES, str(limit_bytes)),
            *(
                sys.executable,
                "-m",
                "services.orchestrator.cli.main",
                "align",
                pool,
                "--task",
                "vqa",
                "--recipe",
                "paper",
            ),
            *(
                "--teacher",
                b.where.teacher,
                "--student",
                b.where.student,
                "--run",
                b.folder,
                "--yes",
                "--no-cache",
            ),
            cwd=ROOT,
            env=os.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        return process.returncode, told.decode()

    async with bench(tmp_path / "calm", pool, recipe="paper") as calm:
        await calm.align()
    a_few_at_a_time = ScriptedTeacher(delay_s=0.02, room=4)
    async with bench(tmp_path / "run", pool, a_few_at_a_time, recipe="paper") as b:
        code, told = await align(b, limit_bytes=400_000)
        assert code == 1, told
        assert "ledger.sqlite can't be used" in told
        assert "free space" in told
        assert "Traceback" not in told
        kept = len(rows(b.folder, "SELECT seed FROM annotations"))
        assert 0 < kept < 120
        made = b.teacher.calls["annotate"]
        code, told = await align(b, resource.RLIM_INFINITY)
        assert code == 0, told
        assert b.teacher.calls["annotate"] == made + 120 - kept
    assert b.parity_set() == calm.parity_set()
