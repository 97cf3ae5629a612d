"""`mpa-orch align` against both real services: killed midway, a service lost, the bundled pair."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import httpx
import pytest

from tests.e2e.processes import ROOT, serving
from tests.pictures import numbered_png, png
from tests.serving import fake_checkpoint
from tests.waiting import until_true, when_steady

pytestmark = pytest.mark.slow
ORCHESTRATOR = [sys.executable, "-m", "services.orchestrator.cli.main"]
IN_FLIGHT = 512
"""The most that mpa-orch has under way at one service."""


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(240):
        (folder / f"{number:03}.png").write_bytes(numbered_png(number))
    (folder / "cut.png").write_bytes(png(size=(200, 200))[:100])
    return folder


def _align(pool, run, teacher, student, *more):
    where = ["--teacher", teacher.address, "--student", student.address]
    return [
        *ORCHESTRATOR,
        "align",
        str(pool),
        "--task",
        "vqa",
        "--recipe",
        "rehearsal",
        "--run",
        str(run),
        *where,
        *more,
    ]


def _teacher_calls(teacher):
    """Finished calls as the service counts them: annotations, answers."""
    text = httpx.get(f"http://127.0.0.1:{teacher.http_port}/metrics").text
    line = r'mpa_requests_total\{{code="OK",method="/mpa.v1.TeacherService/{}Stream"[^}}]*\}} (\S+)'
    return tuple(
        int(sum(map(float, re.findall(line.format(method), text))))
        for method in ("Annotate", "Answer")
    )


def _stored(run):
    """Finished calls in the ledger: annotations, teacher's answers, student's answers."""
    with closing(sqlite3.connect(run / "ledger.sqlite", timeout=10)) as ledger:
        tables = "SELECT 1 FROM sqlite_master WHERE name IN ('annotations', 'answers')"
        if len(ledger.execute(tables).fetchall()) < 2:
            return 0, 0, 0
        annotations = "SELECT count(*) FROM annotations WHERE text != ''"
        answers = "SELECT role, count(*) FROM answers WHERE step != 'evaluate' GROUP BY role"
        (annotated,) = ledger.execute(annotations).fetchone()
        answered = dict(ledger.execute(answers).fetchall())
    return annotated, answered.get("teacher", 0), answered.get("student", 0)


def _await_answers(run, count, process):
    """Waits until the ledger has `count` answers of the student."""

    def has_them():
        assert process.poll() is None
        return (run / "ledger.sqlite").exists() and _stored(run)[2] >= count

    until_true(has_them)


def _services(folder, latency_s):
    teacher = serving(
        "teacher",
        folder,
        model=fake_checkpoint(folder / "t", skill=0.95, unparsed=0.05, latency_s=latency_s),
    )
    settings = {
        "model": fake_checkpoint(folder / "s", skill=0.5, latency_s=latency_s),
        "store": folder / "store",
    }
    return teacher, serving("student", folder, **settings)


def test_killed_in_the_middle_it_ends_with_the_same_parity_set_and_repeats_no_finished_call(
    tmp_path, pool
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    teacher, student = _services(tmp_path / "whole", 0.02)
    with teacher as teacher, student as student:
        subprocess.run(
            _align(pool, tmp_path / "one", teacher, student),
            check=True,
            cwd=ROOT,
            capture_output=True,
        )
    teacher, student = _services(tmp_path / "broken", 0.4)
    with teacher as teacher, student as student:
        command = _align(pool, tmp_path / "two", teacher, student, "--no-cache")
        first = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _await_answers(tmp_path / "two", 60, first)
        first.kill()
        first.wait()
        kept = _stored(tmp_path / "two")
        before = when_steady(lambda: _teacher_calls(teacher))
        assert before[0] - kept[0] <= IN_FLIGHT
        resumed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert resumed.returncode == 0, resumed.stderr
        after = _teacher_calls(teacher)
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "parity_set.jsonl").read_text() == (two / "parity_set.jsonl").read_text()
    total = _stored(two)
    assert total == _stored(one)
    assert after[0] - before[0] == total[0] - kept[0], (
        "the second pass asks exactly what the first had not finished"
    )
    assert after[1] - before[1] == total[1] - kept[1]
    summary = json.loads((two / "summary.json").read_text())
    assert summary["promoted"]
    assert summary["swap"]["failed"] == 0
    assert summary["image_files"]["refused"] == {"IMAGE_TRUNCATED": 1}


def test_a_student_that_dies_in_the_middle_and_comes_back_is_waited_for(tmp_path, pool):
    teacher, student = _services(tmp_path, 0.1)
    with teacher as teacher, student as student:
        command = _align(pool, tmp_path / "run", teacher, student)
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        _await_answers(tmp_path / "run", 40, process)
        student.kill_at_once()
        again = {
            "model": tmp_path / "s",
            "store": tmp_path / "store",
            "grpc_port": student.grpc_port,
        }
        with serving("student", tmp_path, **again):
            said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "waiting for the student" in said
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["promoted"]


def test_a_student_with_room_for_one_model_tries_its_candidate_in_place(tmp_path, pool):
    teacher = serving("teacher", tmp_path, model=fake_checkpoint(tmp_path / "t", skill=0.95))
    model = fake_checkpoint(tmp_path / "s", skill=0.5)
    with (
        teacher as teacher,
        serving(
            "student", tmp_path, model=model, store=tmp_path / "store", max_loaded=1
        ) as student,
    ):
        command = _align(pool, tmp_path / "run", teacher, student)
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert refused.returncode == 1
        assert "room for one model" in refused.stderr
        tried = subprocess.run([*command, "--trial"], cwd=ROOT, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    assert "v2 answers in the place of v1" in tried.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["promoted"]
    assert summary["held_out"]["after"]["accuracy"] > summary["held_out"]["before"]["accuracy"]
    assert summary["swap"]["failed"] == 0
    assert "way of the swap: in_place" in student.log.read_text()
