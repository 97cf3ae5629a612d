"""Recipes with parts: what the student is trained on, how, and again after it is asked."""

import math
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from protos.mpa.v1 import training_pb2
from services.core.errors import InvalidInput, MpaError, Unavailable, WrongState
from services.core.parity import Cell
from services.orchestrator import alignment
from services.orchestrator.cli import commands
from services.orchestrator.endpoints import connect
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.losses import keep_losses, losses_of
from services.orchestrator.run.run import open_run, read_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import State
from services.orchestrator.steps.following import by_label, keep_loss
from services.rpc.client import TrainingState
from tests.orchestrator.conftest import bench
from tests.orchestrator.experiments.test_repaired import Keeping
from tests.orchestrator.scripted import answer
from tests.orchestrator.steps.test_anchoring import TAKES_ANCHORS
from tests.orchestrator.steps.test_forecast import ONE_FITS
from tests.orchestrator.test_in_turn import align_in_turn


def _cells(b) -> dict[tuple[str, str], tuple[Cell, str]]:
    """Cell and annotation by image and question."""
    with read_run(b.folder) as run:
        return {
            (one.image_sha256, one.question): (one.cell, one.answer) for one in run.ledger.records()
        }


def _sent(b, request) -> list[training_pb2.TrainingSample]:
    return b.student.sent_samples[request.dataset]


async def test_every_known_sample_is_trained_on_and_the_gap_weighs_more(tmp_path, pool):
    recipe = "filtered+weight-3+narrow+epochs-4+rate-1e-4+decay-0.1"
    student = Keeping(forecast=TAKES_ANCHORS)
    async with bench(tmp_path / "run", pool, student=student, recipe=recipe) as b:
        await b.align()
    (request,) = b.student.trainings
    chosen = request.hyperparameters
    assert request.recipe == recipe
    assert (chosen.epochs, chosen.learning_rate, chosen.weight_decay) == (4, 1e-4, 0.1)
    assert (chosen.trainable, chosen.HasField("tower_rate")) == ("attention", False)
    cells = _cells(b)
    right = {
        key for key, (cell, _) in cells.items() if cell in (Cell.GAP, Cell.KNOWN, Cell.UNASKED)
    }
    sent = _sent(b, request)
    assert {(one.image_sha256, one.question) for one in sent} <= right
    assert len(sent) > 0.7 * len(right), "all but those of held-out images"
    for one in sent:
        is_gap = cells[one.image_sha256, one.question][0] is Cell.GAP
        assert (one.weight == 3.0) if is_gap else not one.HasField("weight")


async def test_a_recipe_without_parts_leaves_the_training_to_the_preset(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=Keeping(), recipe="filtered") as b:
        await b.align()
    (request,) = b.student.trainings
    set_by_it = {field.name for field, _ in request.hyperparameters.ListFields()}
    assert set_by_it <= {"seed", "lora_rank"}
    with read_run(b.folder) as run:
        assert run.state.losses[-1] == (8, 0.5)


class Noting(Keeping):
    """A student whose service keeps losses: two epochs, the first one of every sample is 2."""

    async def GetSampleLosses(self, request, context):
        assert request.operation == "operations/1"
        values = [value for n in range(len(self.samples)) for value in (2.0, n / 8)]
        for first in (0, 2):  # in two parts
            part = values[2 * first : 4] if not first else values[4:]
            yield training_pb2.GetSampleLossesResponse(first=first, epochs=2, losses=part)


async def test_losses_of_samples_are_kept_in_the_ledger(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=Noting()) as b:
        await b.align()
        samples = b.student.samples
    with closing(Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)) as ledger:
        for place, sample in enumerate(samples):
            (kept,) = losses_of(ledger, sample.image_sha256, sample.question)
            assert (kept.round, kept.answer) == (1, sample.answer)
            assert kept.by_epoch == (2.0, place / 8)
            assert kept.mean == pytest.approx((2 + place / 8) / 2)
        assert list(ledger.read("SELECT count(*) FROM losses")) == [(len(samples),)]


async def test_a_service_without_losses_keeps_none(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=Keeping()) as b:
        await b.align()
    with closing(Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)) as ledger:
        assert list(ledger.read("SELECT count(*) FROM losses")) == [(0,)]


def test_a_label_that_is_met_twice_in_an_epoch_has_the_mean():
    losses = [(1.0, 0.5), (3.0, 0.7), (4.0, math.nan), (9.0, 9.0)]
    one, other = ("aa", "q?", "a"), ("aa", "r?", "a")
    found = by_label([one, one, other], losses)
    assert found[one] == pytest.approx([2.0, 0.6])
    assert found[other][0] == 4.0 and math.isnan(found[other][1])
    assert len(found) == 2, "anchors come after the labels"


def test_a_label_with_fewer_epochs_the_second_time_has_those(tmp_path):
    label = ("aa", "q?", "a")
    assert by_label([label, label], [(1.0, 0.5), (3.0,)]) == {label: [2.0]}
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        keep_losses(ledger, {label: [math.inf, -math.inf, math.nan, 0.25]})
        (kept,) = losses_of(ledger, *label[:2])
    assert kept.by_epoch == (None, None, None, 0.25)
    assert kept.mean == 0.25


class Odd(Keeping):
    """A student whose service keeps losses of halves of samples."""

    async def GetSampleLosses(self, request, context):
        yield training_pb2.GetSampleLossesResponse(epochs=self.epochs, losses=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("epochs", [0, 2])
async def test_losses_that_are_not_those_of_samples_end_no_run(tmp_path, pool, epochs):
    async with bench(tmp_path / "run", pool, student=Odd()) as b:
        b.student.epochs = epochs
        assert (await b.align()).promoted
    with closing(Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)) as ledger:
        assert list(ledger.read("SELECT count(*) FROM losses")) == [(0,)]


def test_a_loss_curve_is_thinned_and_begins_again_with_another_training(tmp_path):
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        state = State(ledger)
        for step in range(5001):
            keep_loss(state, _training(step, 5000, 0.0 if step < 10 else 1.0 + step))
        steps = [step for step, _ in state.losses]
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1], len(steps)) == (25, 5000, 200)
        keep_loss(state, _training(1, 8, 0.5))
        keep_loss(state, _training(1, 8, 0.4))
        assert state.losses == ((1, 0.5),)
        assert state.of_round(2).losses == ()


def _training(step, total_steps, loss):
    return TrainingState("operations/1", "training", step, total_steps, loss, 1.0, 1.0, "", None)


async def test_gap_samples_are_met_more_often_in_as_many_steps(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=Keeping(), recipe="filtered+emphasis-2") as b:
        await b.align()
    (request,) = b.student.trainings
    assert request.hyperparameters.epochs == 1, "all meetings of the preset's two passes"
    met = Counter((one.image_sha256, one.question) for one in _sent(b, request))
    cells = _cells(b)
    of_gap = [times for key, times in met.items() if cells[key][0] is Cell.GAP]
    known = [times for key, times in met.items() if cells[key][0] is not Cell.GAP]
    assert sum(of_gap) / len(of_gap) > 1.5 * sum(known) / len(known)


async def test_samples_that_a_training_gets_wrong_are_met_more_often_in_the_next(tmp_path, pool):
    student = Keeping(trained_skill=0.3, trained_later=(0.9,))
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+repair-1") as b:
        summary = await b.align()
    first, repaired = student.trainings
    assert set(Counter(map(str, _sent(b, first))).values()) == {1}
    cells = _cells(b)
    met = Counter((one.image_sha256, one.question) for one in _sent(b, repaired))
    for (image, question), times in met.items():
        cell, annotated = cells[image, question]
        is_wrong = answer(student.skills["v2"], image, question) != annotated
        assert times == ((2 if cell is Cell.GAP else 3) if is_wrong else 1)
    assert max(met.values()) == 3
    assert (summary.promoted, summary.version.after) == (True, "v3")


@pytest.mark.parametrize("calls", [30, 90])
async def test_killed_while_it_asks_again_a_run_repeats_no_call_and_no_training(
    tmp_path, pool, calls
):
    student = Keeping(trained_skill=0.3, trained_later=(0.9,))
    async with bench(
        tmp_path / "run", pool, student=student, recipe="filtered+repair-1", patience_s=0.0
    ) as b:
        student.trouble = _gone_after(student, calls)
        with pytest.raises(MpaError):
            await b.align()
        student.trouble = lambda _: None
        assert len(student.trainings) == 1
        await b.align()
    asked = Counter(key for key in student.keys.elements() if key[3] == "v2")
    assert set(asked.values()) == {1}
    first, again, repaired = student.trainings
    assert first.request_id == again.request_id != repaired.request_id
    assert student.live == "v3"


def _gone_after(student, calls: int):
    """Unavailable from the nth answer of the first trained version on."""

    def trouble(*_):
        answered = sum(times for key, times in student.keys.items() if key[3:] == ("v2",))
        return Unavailable("gone") if answered >= calls else None

    return trouble


def _refuses_after(student, calls: int):
    """Refuses further questions to the first trained version."""

    def trouble(*_):
        answered = sum(times for key, times in student.keys.items() if key[3:] == ("v2",))
        is_asking = len(student.trainings) == 1
        return InvalidInput("refused") if is_asking and answered >= calls else None

    return trouble


async def test_one_device_cannot_answer_between_trainings(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="filtered+repair-1") as b:
        with pytest.raises(InvalidInput, match="leave out --single-device"):
            await align_in_turn(b)
        assert not b.teacher.calls


async def test_what_is_trained_is_evaluated_on_one_device(tmp_path, pool):
    student = Keeping(trained_skill=0.3, trained_later=(0.9,))
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+repair-1") as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            where = b.where
            async with connect.both(where, b.folder, progress) as (teacher, client):
                await alignment.annotate_and_identify(run, teacher, client, progress)
                await alignment.train(run, client, lambda _: True, progress)
        summary = await align_in_turn(b)
    assert summary.promoted


async def test_room_for_one_model_is_said_before_the_first_training(tmp_path, pool):
    student = Keeping()
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+repair-1") as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            async with connect.both(b.where, b.folder, progress) as (teacher, client):
                await alignment.annotate_and_identify(run, teacher, client, progress)
            student.forecast = ONE_FITS
            with pytest.raises(WrongState, match="give a recipe without"):
                await commands.level(run, b.where, lambda _: True, progress)
    assert not student.trainings


async def test_a_version_that_hardly_answers_repairs_nothing(tmp_path, pool):
    student = Keeping(trained_skill=0.3, trained_later=(0.9,))
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+repair-1") as b:
        student.trouble = _refuses_after(student, 3)
        with pytest.raises(MpaError, match=r"only 3 of \d+ samples could be asked again"):
            await b.align()
    assert len(student.trainings) == 1


async def test_epochs_of_an_unknown_preset_must_be_named(tmp_path, pool):
    student = Keeping(preset="of a later release")
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+emphasis-2") as b:
        with pytest.raises(WrongState, match=r"add .epochs-N to the recipe"):
            await b.align()
    recipe = "filtered+emphasis-2+epochs-3"
    async with bench(tmp_path / "named", pool, student=student, recipe=recipe) as b:
        await b.align()
    (request,) = student.trainings
    assert request.hyperparameters.epochs == 1
    met = Counter((one.image_sha256, one.question) for one in _sent(b, request))
    assert met.total() == 3 * len(met)


async def test_room_for_one_model_is_said_before_the_first_image(tmp_path, pool):
    student = Keeping(forecast=ONE_FITS)
    async with bench(tmp_path / "run", pool, student=student, recipe="filtered+repair-1") as b:
        b.where = replace(b.where, is_trial=True)
        with pytest.raises(WrongState, match=r"recipe without .repair"):
            await b.align()
        assert not b.teacher.calls


def test_adapters_and_parts_of_the_student_are_refused_together(pool):
    with pytest.raises(InvalidInput, match="leave out --lora-rank") as no:
        new_settings(str(pool), "vqa", "filtered+narrow", lora_rank=16)
    assert no.value.field == "lora_rank"


async def test_the_run_of_one_recipe_is_not_continued_by_another(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="filtered") as b:
        await b.align()
    async with bench(tmp_path / "run", pool, recipe="filtered+weight-2") as b:
        with pytest.raises(WrongState, match=r"recipe: filtered there, filtered\+weight-2 now"):
            await b.align()
