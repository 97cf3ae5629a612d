"""`align --single-device` as real processes: models in memory, kills, and the pair's parity set."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

import pytest

from services.core.errors import MpaError
from services.orchestrator.run.ledger import Ledger
from tests.orchestrator.cli.test_main import ROOT, run, start
from tests.orchestrator.endpoints.test_processes import images, models, services_of

__all__ = ["images", "models"]

pytestmark = pytest.mark.slow

PROGRAMS = {
    b"services.teacher.service:": "teacher",
    b"services.student.service:": "student",
    b"services.student.training": "training",
    b"services.student.fake_training": "training",
}


def holders(folder: Path) -> frozenset[str]:
    """Roles with a model in memory: a service of this run (unless it loads none), or its training.

    Command lines tell them: a forked child has its parent's until it becomes its program.
    """
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                command = (process / "cmdline").read_bytes()
                roles = {role for program, role in PROGRAMS.items() if program in command}
                is_resting = b"MPA_STUDENT_SERVE=0" in (process / "environ").read_bytes()
                found |= roles - ({"student"} if is_resting else set())
        except OSError:
            continue
    return frozenset(found)


@contextmanager
def watched(folder: Path, every_s=0.05):
    """The sets of holders seen, in order, each stretch once. Each look reads all of /proc."""
    seen: list[frozenset[str]] = []
    over = threading.Event()

    def watch():
        while not over.wait(every_s):
            seen.append(holders(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    stretches: list[frozenset[str]] = []
    try:
        yield stretches
    finally:
        over.set()
        thread.join()
        stretches.extend(found for found, _ in groupby(found for found in seen if found))


async def align(images, folder, how, models, *more):
    return await run(
        "align", images, "--task", "vqa", how, "--no-cache", "--run", folder, *more, **models
    )


async def test_one_model_at_a_time_and_the_parity_set_of_side_by_side(tmp_path, models, images):
    models["MPA_FAKE_STEP_S"] = "0.02"
    assert (await align(images, tmp_path / "beside", "--local", models))[0] == 0
    with watched(tmp_path / "turns") as stretches:
        code, output, errors = await align(images, tmp_path / "turns", "--single-device", models)
    assert code == 0, errors
    assert stretches == [
        frozenset([role]) for role in ("teacher", "student", "teacher", "training", "student")
    ]
    turns, beside = tmp_path / "turns", tmp_path / "beside"
    assert (turns / "parity_set.jsonl").read_text() == (beside / "parity_set.jsonl").read_text()
    of_turns, of_beside = (
        json.loads((folder / "summary.json").read_text()) for folder in (turns, beside)
    )
    for figure in (
        "cells",
        "annotations",
        "teacher_calls",
        "student_calls",
        "version",
        "promoted",
        "recipe",
    ):
        assert of_turns[figure] == of_beside[figure], figure
    assert "mpa-orch serve student" in errors
    assert services_of(turns) == []
    assert await align(images, turns, "--single-device", models) == (0, output, "")


def is_under_way(folder: Path, role: str) -> bool:
    """Whether it has done something in its turn."""
    if role == "training":
        return any(
            path.read_text() != "0" for path in folder.glob("student/jobs/*/checkpoints/step")
        )
    table = {"teacher": "annotations", "student": "answers"}[role]
    ledger = Ledger(folder / "ledger.sqlite", read_only=True)
    try:
        return any(ledger.read(f"SELECT 1 FROM {table}"))
    except MpaError:  # its tables are being made
        return False
    finally:
        ledger.close()


def devices_of_training(folder: Path) -> str:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder / "student" / "jobs"):
                variables = (process / "environ").read_bytes().split(b"\0")
                return next(v.decode() for v in variables if v.startswith(b"CUDA_VISIBLE_DEVICES"))
    return ""


async def test_killed_in_each_of_its_turns_it_goes_on(tmp_path, models, images):
    folder = tmp_path / "run"
    models["MPA_FAKE_STEP_S"] = "0.2"
    models["MPA_STUDENT_DEVICES"] = "1"
    for role, skill in (("teacher", 0.95), ("student", 0.5)):
        (tmp_path / role / "fake.json").write_text(json.dumps({"skill": skill, "latency_s": 0.3}))
    for role in ("teacher", "student", "training"):
        process = await start(
            "align",
            images,
            "--task",
            "vqa",
            "--single-device",
            "--no-cache",
            "--run",
            folder,
            **models,
        )
        while holders(folder) != {role} or not is_under_way(folder, role):
            assert process.returncode is None
            await asyncio.sleep(0.05)
        assert role != "training" or devices_of_training(folder) == "CUDA_VISIBLE_DEVICES=1"
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
    code, _, errors = await align(images, folder, "--single-device", models)
    assert code == 0, errors
    assert len(list((folder / "student" / "jobs").iterdir())) == 1, "the training went on"
    models["MPA_FAKE_STEP_S"] = "0"
    assert (await align(images, tmp_path / "beside", "--local", models))[0] == 0
    assert (folder / "parity_set.jsonl").read_text() == (
        tmp_path / "beside" / "parity_set.jsonl"
    ).read_text()


def test_the_bundled_pair_in_turn_finds_the_gap_that_it_finds_side_by_side(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "zoo.easy_vqa", str(tmp_path / "data")], cwd=ROOT, check=True
    )
    lines = (tmp_path / "data" / "test.jsonl").read_text().splitlines()[:60]
    (tmp_path / "data" / "some.jsonl").write_text("\n".join(lines) + "\n")
    turns, beside = tmp_path / "turns", tmp_path / "beside"
    orchestrator = [sys.executable, "-m", "services.orchestrator.cli.main"]
    about = [
        str(tmp_path / "data" / "pool"),
        "--task",
        "vqa",
        "--limit",
        "80",
        "--recipe",
        "rehearsal+epochs-1",
    ]

    def call(*arguments):
        done = subprocess.run(
            [*orchestrator, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done

    call("annotate", *about, "--local", "--run", beside)
    call("identify", beside, "--local")
    with watched(turns, every_s=0.5) as stretches:
        call(
            "align",
            *about,
            "--single-device",
            "--run",
            turns,
            "--eval",
            tmp_path / "data" / "some.jsonl",
            "--yes",
        )
    assert max(map(len, stretches)) == 1
    assert (turns / "parity_set.jsonl").read_text() == (beside / "parity_set.jsonl").read_text()
    summary = json.loads((turns / "summary.json").read_text())
    assert summary["cells"]["gap"] > 16
    assert summary["teacher"]["accuracy"] > 0.9
    assert summary["labelled"]["questions"] == 60
    assert summary["version"]["after"] == "v2"
