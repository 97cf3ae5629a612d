"""The command line as processes: exit codes, messages, and what survives a kill."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
ON_RAY = ["align", "pool", "--task", "vqa", "--engine", "ray"]
ORCH = (sys.executable, "-m", "services.orchestrator.cli.main")


AT_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("services.orchestrator.cli.main", run_name="__main__")
"""


async def start(*arguments, **environment):
    """Starts the command as a terminal does: a script in the background passes on that it ignores
    Ctrl-C.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        AT_A_TERMINAL,
        *map(str, arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments, **environment):
    process = await start(*arguments, **environment)
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def align_arguments(b, *more):
    return (
        "align",
        b.settings.images,
        "--task",
        "vqa",
        "--recipe",
        "rehearsal",
        "--run",
        b.folder,
        *more,
    )


def at(b):
    return ("--teacher", b.where.teacher, "--student", b.where.student)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["align", "pool", "--task", "vqa"], 2, "--local"),
        (["align", "pool", "--task", "vqa", "--teacher", "localhost:1"], 2, "--student"),
        (["align", "pool"], 2, "--task"),
        (["identify", "run"], 2, "--teacher"),
        (["level", "run"], 2, "--student"),
        (["serve", "nobody"], 2, "teacher"),
        (["align", "nowhere", "--task", "vqa", "--local"], 1, "no file or folder"),
        (["align", "nowhere", "--task", "vqb", "--local"], 2, "choose one of textvqa"),
        (["quote", "nowhere", "--task", "vqb", "--local"], 2, "choose one of textvqa"),
        (
            ["align", "nowhere", "--task", "vqa", "--local", "--recipe", "papers"],
            2,
            "choose one of paper",
        ),
        (
            ["align", "nowhere", "--task", "vqa", "--local", "--matcher", "exakt"],
            2,
            "choose one of exact",
        ),
        (
            ["align", "nowhere", "--task", "vqa", "--local", "--student-matcher", "x"],
            2,
            "choose one of exact",
        ),
        (
            ["align", "nowhere", "--task", "vqa", "--local", "--budget", "20EUR"],
            2,
            "no amount of US dollars",
        ),
        (["datasets", "check", "nowhere", "--task", "vqb"], 2, "choose one of textvqa"),
        (
            ["datasets", "evaluate", "nowhere", "--out", "x", "--metric", "f1"],
            2,
            "choose one of vqa_accuracy",
        ),
        (["cache", "prune", "--older-than", "soon"], 2, "no duration"),
        (["cache", "prune", "--max-size", "big"], 2, "no size"),
        (["status", "nowhere"], 1, "no run in nowhere"),
        (["level", "nowhere", "--local"], 1, "no run in nowhere"),
        (["ask", "nowhere.png", "what?", "--student", "localhost:1"], 1, "nowhere.png"),
        ([*ON_RAY, "--single-device"], 2, "both models at the same time"),
        ([*ON_RAY, "--local", "--budget", "5USD"], 2, "need the local engine"),
        (["status"], 0, "no runs"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_help_is_quick_and_loads_nothing_heavy():
    heavy = ("torch", "transformers", "bentoml", "grpc", "PIL", "numpy", "pyarrow", "fsspec", "ray")
    code = f"""
import sys
from typer.testing import CliRunner
from services.orchestrator.cli.main import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert not set({heavy}) & set(sys.modules), set({heavy}) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


async def test_exit_0_with_the_table_and_again_without_services(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        code, output, errors = await run(*align_arguments(b), *at(b))
    assert code == 0, errors
    assert "zero-shot" in output
    again = await run(*align_arguments(b), *at(b))
    assert again == (0, output, "")
    code, output, _ = await run("status", b.folder)
    assert (code, "zero-shot" in output) == (0, True)


async def test_exit_3_where_the_student_is_at_parity(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(skills={"v1": 0.99})) as b:
        first = await run(*align_arguments(b), *at(b))
    again = await run(*align_arguments(b), *at(b))
    assert first[0] == again[0] == 3
    assert "nothing to align" in again[2]
    assert first[1] == again[1]


async def test_exit_1_and_the_command_to_resume_with_where_a_service_is_down(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        pass
    code, _, errors = await run(*align_arguments(b), *at(b), "--patience", "0.3")
    assert code == 1
    assert b.where.teacher in errors or b.where.student in errors
    assert "resume with: mpa-orch align" in errors
    assert "Traceback" not in errors


async def test_other_settings_are_refused_by_name(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        assert (await run(*align_arguments(b), *at(b)))[0] == 0
        code, _, errors = await run(*align_arguments(b, "--limit", "7"), *at(b))
    assert code == 1
    assert "limit: 0 there, 7 now" in errors


async def test_a_run_that_is_open_elsewhere_is_refused(tmp_path, pool):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(delay_s=1.0)) as b:
        first = await start(*align_arguments(b), *at(b))
        await until(lambda: b.teacher.most_at_once)
        code, _, errors = await run(*align_arguments(b), *at(b))
        first.kill()
        await first.communicate()
    assert code == 1
    assert f"process {first.pid}" in errors


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_an_interruption_exits_130_and_says_how_to_go_on(tmp_path, pool, end):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(delay_s=0.2)) as b:
        process = await start(*align_arguments(b), *at(b))
        await until(lambda: b.teacher.calls["annotate"])
        process.send_signal(end)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert "interrupted; repeat the same command to resume" in errors.decode()
    assert "Traceback" not in errors.decode()
    assert json.loads((b.folder / "summary.json").read_text())["outcome"] == "unfinished"


async def test_killed_at_any_instant_it_resumes_to_the_same_parity_set_and_repeats_no_finished_call(
    tmp_path, pool
):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    teacher, student = ScriptedTeacher(delay_s=0.02), ScriptedStudent(delay_s=0.02)
    async with bench(tmp_path / "run", pool, teacher, student) as b:
        for calls in (60, 200, 330):
            process = await start(*align_arguments(b), *at(b))
            await until(lambda calls=calls: teacher.calls.total() >= calls)
            os.kill(process.pid, signal.SIGKILL)
            await process.communicate()
        code, _, errors = await run(*align_arguments(b), *at(b))
    assert code == 0, errors
    assert b.parity_set() == calm.parity_set()
    summary = json.loads((b.folder / "summary.json").read_text())
    # What a kill kept from the ledger may have reached the cache before.
    assert summary["teacher_calls"] + summary["teacher_calls_saved"] == whole.teacher_calls
    assert summary["cells"] == whole.cells
    # Only what was in flight when the kill came may have been asked again: at most 64 at a time.
    repeated = sum(teacher.keys.values()) - len(teacher.keys)
    assert repeated <= 3 * 64
    pinned = {key: count for key, count in student.keys.items() if key[-1]}
    assert sum(pinned.values()) - len(pinned) <= 3 * 64


async def test_a_full_disk_is_told_and_loses_nothing(tmp_path, pool):
    """A limit on file sizes stands in for the full disk: the ledger can't grow."""
    async with bench(tmp_path / "run", pool) as b:
        limited = (
            "bash",
            "-c",
            'ulimit -f 40; exec "$@"',
            "bash",
            *ORCH,
            *map(str, align_arguments(b)),
            *at(b),
        )
        process = await asyncio.create_subprocess_exec(
            *limited, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert "make room" in errors.decode() or "free space" in errors.decode()
        assert "Traceback" not in errors.decode()
        assert (await run(*align_arguments(b), *at(b)))[0] == 0
    assert max(count for key, count in b.student.keys.items() if key[-1]) <= 2
