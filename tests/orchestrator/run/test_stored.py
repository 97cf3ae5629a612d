"""Runs and a store of an earlier program (tests/stored), opened and continued by this one."""

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import tests.stored
from protos.mpa.v1 import student_pb2, types_pb2
from services.core.regimen import Regimen
from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.endpoints.where import Where
from services.orchestrator.rounds import StoppingRule
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.summary import write_summary
from services.rpc.client import StudentClient
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.rounds import CELLS, in_ledger
from tests.orchestrator.scripted import ScriptedTeacher
from tests.pictures import numbered_png
from tests.serving import fake_student_settings, serving_student, teacher_at
from tests.stored.pool import POOL, fill_pool, rejects

ARCHIVE = Path(tests.stored.__file__).parent / "stored.tar.gz"
RUNS = ("finished", "unfinished")
UNREACHABLE = Where("127.0.0.1:1", "127.0.0.1:1", patience_s=0.0)


@pytest.fixture
def stored(tmp_path) -> Path:
    """An unpacked copy, and the images of its runs."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    fill_pool()
    return tmp_path


def teacher() -> ScriptedTeacher:
    """The student that the unfinished run has asked."""
    return ScriptedTeacher(rejects=rejects)


def printed(*arguments) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def by_name(listed: str) -> dict:
    """The list of runs, without what depends on the folder."""
    runs = {Path(run.pop("run")).name: run for run in json.loads(listed)}
    return {name: {**run, "size_bytes": 0} for name, run in runs.items()}


def test_the_list_of_runs_is_the_same(stored):
    told = (stored / "printed" / "list.json").read_text()
    assert by_name(printed("runs", "list", stored, "--json")) == by_name(told)


@pytest.mark.parametrize("name", RUNS)
def test_every_record_is_shown_as_before(stored, name):
    told = (stored / "printed" / f"{name}-records.jsonl").read_text().splitlines()
    shown = printed("runs", "show", stored / name, "--limit", 10_000, "--json").splitlines()
    assert len(shown) >= 100
    new = {"student_logprob": None}
    assert [json.loads(line) for line in shown] == [json.loads(line) | new for line in told]


def test_the_summary_of_a_finished_run_is_the_same_and_no_image_is_shrunk(stored):
    told = json.loads((stored / "finished" / "summary.json").read_text())
    told |= {"guards": []}
    told["settings"] |= {"max_pixels": 0, "side_multiple": 1, "anchor_questions": []}
    told["settings"]["recipe"] = asdict(Regimen()) | told["settings"]["recipe"]
    with open_run(stored / "finished") as run:
        write_summary(run)
    assert json.loads((stored / "finished" / "summary.json").read_text()) == told
    assert len(told["rounds"]) == 2


async def test_an_unfinished_run_goes_on_to_its_end_and_repeats_no_call(stored):
    async with bench(stored / "calm", POOL, teacher(), limit=48) as calm:
        await calm.align()
    async with bench(stored / "unfinished", POOL, teacher(), limit=48) as b:
        finished = set(in_ledger(b.folder))
        summary = await b.align()
        asked = set(b.teacher.keys + b.student.keys)
    assert len(finished) > 150
    assert asked
    assert not asked & finished
    assert rows(b.folder, CELLS) == rows(calm.folder, CELLS)
    assert b.parity_set() == calm.parity_set()
    assert summary.outcome in ("promoted", "not_promoted")


async def test_a_finished_run_answers_without_services_and_takes_another_round(stored):
    run = stored / "finished"
    told = json.loads((run / "summary.json").read_text())
    before = set(in_ledger(run))
    again = await align(run, UNREACHABLE, StoppingRule(2))
    assert (again.run, again.outcome, len(again.rounds)) == (told["run"], "promoted", 2)
    async with (
        teacher_at(stored / "teacher", skill=0.97) as teacher_address,
        serving_student(fake_student_settings(stored, skill=0.3)) as student,
    ):
        more = await align(run, Where(teacher_address, student.address), StoppingRule(3))
        names = student.student.store.names()
    assert (more.version.before, more.version.after, len(more.rounds)) == ("v3", "v4", 3)
    assert names == ["v1", "v2", "v3", "v4"]
    assert before < set(in_ledger(run))


async def test_a_stored_store_serves_promotes_and_rolls_back(stored):
    image = types_pb2.Image(data=numbered_png(1))
    question = student_pb2.AnswerRequest(image=image, question="what color is part 1?")
    async with (
        serving_student(fake_student_settings(stored, skill=0.3)) as peer,
        StudentClient(peer.address) as client,
    ):
        found = await client.pointers()
        _, trainings = await client.trainings()
        answered = [await peer.answers.Answer(question)]
        rolled = await client.rollback()
        answered.append(await peer.answers.Answer(question))
        promoted = await client.promote("v1", expected_live="v2")
        answered.append(await peer.answers.Answer(question))
    pointers = [(each.live, each.previous) for each in (found, rolled, promoted.pointers)]
    assert pointers == [("v3", "v2"), ("v2", "v3"), ("v1", "v2")]
    assert [answer.version for answer in answered] == ["v3", "v2", "v1"]
    assert [training.version for training in trainings] == ["v2", "v3"]


async def align(run: Path, where: Where, rule: StoppingRule):
    with (
        open_run(run) as opened,
        Progress(Console(file=io.StringIO())) as progress,
    ):
        return await commands.align(opened, where, None, lambda _: True, progress, rule)
