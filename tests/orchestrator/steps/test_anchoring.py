"""Anchors: where their questions come from, and that the student is sent them."""

from dataclasses import replace

import pytest

from protos.mpa.v1 import training_pb2
from services.core.errors import InvalidInput, NotFound, WrongState
from services.core.questions import question_kind
from services.orchestrator.cli.request import RunRequest
from services.orchestrator.cli.session import settings
from services.orchestrator.endpoints.where import Where
from services.orchestrator.quotes.training import predict_training
from services.orchestrator.run.run import open_run, read_run
from services.orchestrator.run.settings import Settings
from services.orchestrator.run.state import TrainingPace
from services.orchestrator.steps.anchoring import (
    ANCHORS_UNKNOWN,
    WEIGHTS_UNKNOWN,
    read_questions,
)
from tests.orchestrator.conftest import bench
from tests.orchestrator.experiments.test_repaired import Keeping
from tests.orchestrator.steps.test_forecast import FITS

TAKES_ANCHORS = training_pb2.PlanTrainingResponse()
TAKES_ANCHORS.CopyFrom(FITS)
TAKES_ANCHORS.takes_anchors = True


def divided(sent):
    return [[one for one in sent if one.anchor is is_anchor] for is_anchor in (False, True)]


async def test_a_run_sends_as_many_anchors_as_samples_about_the_same_images(tmp_path, pool):
    student = Keeping(forecast=TAKES_ANCHORS)
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+anchor-2") as b:
        await b.align()
    (request,) = student.trainings
    assert request.recipe == "filtered+anchor-2"
    samples, anchors = divided(student.sent_samples[request.dataset])
    assert len(anchors) == len(samples) == len({one.SerializeToString() for one in anchors})
    assert {(one.weight, one.answer) for one in anchors} == {(2.0, "")}
    assert {one.image_sha256 for one in anchors} <= {one.image_sha256 for one in samples}
    with read_run(b.folder) as run:
        records = list(run.ledger.records())
    known = {(one.image_sha256, one.question) for one in records}
    assert not known & {(one.image_sha256, one.question) for one in anchors}
    kinds = {question_kind(one.question) for one in records if one.cell == "gap"}
    assert not kinds & {question_kind(one.question) for one in anchors}


@pytest.mark.parametrize("forecast", [FITS, None], ids=["with a plan", "without"])
@pytest.mark.parametrize(
    "recipe, reason", [("filtered+anchor-2", ANCHORS_UNKNOWN), ("parity", WEIGHTS_UNKNOWN)]
)
async def test_an_older_student_is_refused_before_the_first_image(
    tmp_path, pool, forecast, recipe, reason
):
    student = Keeping(forecast=forecast)
    async with bench(tmp_path / "run", pool, student=student, recipe=recipe) as b:
        with pytest.raises(WrongState, match=r"of an earlier release.*update it") as no:
            await b.align()
        assert no.value.reason == reason
        assert not b.teacher.calls


def test_questions_of_a_file_reach_the_settings_of_the_run(tmp_path, pool):
    file = tmp_path / "questions.txt"
    file.write_text("what is new?\n\n  is it old?  \nwhat is new?\n")
    request = RunRequest(
        folder=tmp_path / "run",
        where=Where("", ""),
        images=str(pool),
        task="vqa",
        recipe="filtered+anchor-2",
        max_pixels=0,
        anchor_questions=file,
    )
    found = settings(request)
    assert found.anchor_questions == ("what is new?", "is it old?")
    assert Settings.from_json(found.to_json()) == found
    plain = settings(replace(request, anchor_questions=None, recipe="filtered"))
    assert "anchor" not in plain.to_json()
    with pytest.raises(InvalidInput, match=r"filtered has no anchors.*filtered\+anchor-2"):
        settings(replace(request, recipe="filtered"))


def test_a_file_without_questions_is_refused(tmp_path):
    with pytest.raises(NotFound, match="one question a line"):
        read_questions(tmp_path / "nothing.txt")
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(InvalidInput, match="has no question"):
        read_questions(tmp_path / "blank.txt")


def test_a_quote_counts_the_steps_of_anchors(tmp_path, pool):
    steps = []
    for recipe in ("filtered", "filtered+anchor-2"):
        asked = settings(
            RunRequest(
                folder=tmp_path / recipe,
                where=Where("", ""),
                images=str(pool),
                task="vqa",
                recipe=recipe,
                max_pixels=0,
            )
        )
        with open_run(tmp_path / recipe, asked) as run:
            run.state.training_pace = TrainingPace(16, 2)
            steps.append(predict_training(run, 50.0, 160.0).steps)
    assert steps == [20, 40]
