"""`mpa-orch experiment` as a process."""

import json
import signal

import pytest

from tests.orchestrator.cli.test_main import run, start
from tests.orchestrator.experiments.conftest import FILE
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from tests.waiting import until


def command(folder, out, *more, arms='["zero-shot", "paper"]'):
    (folder / "small.toml").write_text(FILE.format(arms=arms, seeds="[0]"))
    return ("experiment", folder / "small.toml", "--data", folder, "--out", out, *more)


async def test_a_dry_run_shows_the_plan_and_touches_nothing(tmp_path, data):
    code, output, errors = await run(*command(data, tmp_path / "out", "--dry-run"))
    assert code == 0, errors
    assert "runs (annotate, identify)\t1\t0\tvqa: 80 images, 80 annotations in all" in output
    assert "trainings\t1\t0" in output
    assert "evaluations\t2\t0\tvqa: 40 questions" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "--teacher qwen2vl-7b=HOST:PORT --student qwen2vl-2b=HOST:PORT, or --local"),
        (
            ["--teacher", "gpt-4o=localhost:1"],
            1,
            "name the teacher at that address, as NAME=HOST:PORT with one of qwen2vl-7b",
        ),
        (
            ["--local", "--student", "a:1", "--student", "b:2"],
            1,
            "--student qwen2vl-2b is named twice",
        ),
        (["--single-device", "--engine", "ray"], 2, "both models at the same time"),
    ],
)
async def test_wrong_arguments(tmp_path, data, arguments, code, said):
    found, _, errors = await run(*command(data, tmp_path / "out"), *arguments, COLUMNS="300")
    assert found == code
    assert said in " ".join(errors.replace("│", " ").split())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_killed_in_the_middle_it_goes_on_and_asks_nothing_twice(tmp_path, data, how):
    teacher, student = ScriptedTeacher(), ScriptedStudent(delay_s=0.2)
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        where = ("--teacher", teacher_at, "--student", f"qwen2vl-2b={student_at}")
        asked = command(data, tmp_path / "out", *where)
        process = await start(*asked)
        evaluated = tmp_path / "out/arms/zero-shot/qwen2vl-2b/on/vqa/predictions.jsonl"
        await until(lambda: evaluated.is_file() and evaluated.stat().st_size > 0)
        process.send_signal(how)
        _, errors = await process.communicate()
        assert b"Traceback" not in errors
        student.delay_s = 0.0
        code, output, errors = await run(*asked)
    assert code == 0, errors
    assert "| qwen2vl-2b | MPA" in output
    assert teacher.calls["annotate"] == 80
    assert len(student.trainings) == 1
    rows = json.loads((tmp_path / "out/small.json").read_text())
    assert [(row["arm"], row["questions"], row["failed"]) for row in rows] == [
        ("zero-shot", 40, 0),
        ("paper", 40, 0),
    ]


@pytest.mark.parametrize("more", [("--dry-run",), ("--teacher", "a:1", "--student", "b:1")])
async def test_a_file_that_would_choose_on_test_is_refused_and_its_report_stands(
    tmp_path, data, more
):
    out = tmp_path / "out"
    used = {
        "arm": "paper+epochs-4",
        "settled": "paper+epochs-4",
        "student": "qwen2vl-2b",
        "teacher": "qwen2vl-7b",
        "task": "vqa",
        "on": "vqa",
        "experiment": "small",
        "claim": "",
        "when": "2026-01-01T00:00:00+00:00",
    }
    out.mkdir()
    (out / "test-draw.json").write_text(json.dumps([used]))
    (out / "small.md").write_text("as measured")
    code, _, errors = await run(*command(data, out, *more, arms='["paper+epochs-8"]'))
    assert code == 1
    assert "was measured on the test draw of vqa with epochs 4" in " ".join(errors.split())
    assert (out / "small.md").read_text() == "as measured"
