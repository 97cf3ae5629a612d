"""Results and data in another place: nothing that is there is done again."""

import io
import json
import shutil

import pytest

from services.core.errors import WrongState
from services.orchestrator.experiments.identified import settle_budget
from services.orchestrator.experiments.plan import TRAINING, subjects
from services.orchestrator.experiments.trained import conditions
from tests.orchestrator.experiments.conftest import Laboratory
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving

ARMS = ("zero-shot", "paper", "filtered")


async def _done(laboratory):
    async with (
        serving(ScriptedTeacher()) as teacher_at,
        serving(ScriptedStudent()) as student_at,
    ):
        return await laboratory.work(laboratory.experiment(arms=ARMS), teacher_at, student_at)


async def test_tables_are_made_again_without_services_runs_or_the_same_folders(
    laboratory, tmp_path
):
    rows = await _done(laboratory)
    moved = Laboratory(tmp_path / "elsewhere", tmp_path / "kept", io.StringIO())
    shutil.move(laboratory.data, moved.data)
    shutil.copytree(laboratory.out / "arms", moved.out / "arms")
    assert await moved.work(moved.experiment(arms=ARMS), "127.0.0.1:1", "127.0.0.1:1") == rows


async def test_what_is_missing_there_is_trained(laboratory, tmp_path):
    rows = await _done(laboratory)
    moved = Laboratory(laboratory.data, tmp_path / "kept", io.StringIO())
    shutil.copytree(laboratory.out / "arms", moved.out / "arms")
    shutil.rmtree(moved.out / "arms" / "filtered")
    student = ScriptedStudent()
    async with serving(ScriptedTeacher()) as teacher_at, serving(student) as student_at:
        again = await moved.work(moved.experiment(arms=ARMS), teacher_at, student_at)
    assert [request.recipe for request in student.trainings] == ["filtered"]
    assert again["paper"] == rows["paper"]
    assert again["filtered"]["samples"] == rows["filtered"]["samples"]


async def test_a_student_with_other_weights_under_the_name_is_not_asked(laboratory):
    """A kept training names a version of a store that isn't there any more."""
    experiment = laboratory.experiment(arms=("paper",))
    student = ScriptedStudent()
    async with serving(ScriptedTeacher()) as teacher_at, serving(student) as student_at:
        await laboratory.work(experiment, teacher_at, student_at)
        shutil.rmtree(next(laboratory.out.glob("arms/paper/*/*/*/*/on")))
        student.weights = {"v2": "those of another training"}
        with pytest.raises(WrongState, match=r"v2 at .* has other weights than the one"):
            await laboratory.work(experiment, teacher_at, student_at)


async def test_a_training_of_an_earlier_release_counts_in_its_own_place_alone(laboratory, tmp_path):
    await _done(laboratory)
    experiment = laboratory.experiment(arms=ARMS)
    for path in laboratory.out.glob(f"arms/*/*/*/*/*/{TRAINING}"):
        trained = json.loads(path.read_text())
        known = {
            conditions(experiment, subject, budget, by_name=False)
            for subject, budget in _subjects(experiment, laboratory.out)
        }
        (earlier,) = known
        path.write_text(json.dumps(trained | {"conditions": earlier}))
    await laboratory.work(experiment, "127.0.0.1:1", "127.0.0.1:1")
    moved = Laboratory(tmp_path / "elsewhere", laboratory.out, io.StringIO())
    shutil.move(laboratory.data, moved.data)
    with pytest.raises(WrongState, match="under other settings"):
        await moved.work(moved.experiment(arms=ARMS), "127.0.0.1:1", "127.0.0.1:1")


def _subjects(experiment, out):
    return [
        (subject, settle_budget(experiment, subject.student, out))
        for subject in subjects(experiment)
        if subject.arm.is_trained
    ]
