"""People's reviews as labels: in the parity set, in the evaluation, in a further round."""

import asyncio
import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import NothingToAlign
from services.core.parity import NOISE, Cell
from services.core.reviews import checked_review
from services.orchestrator import alignment
from services.orchestrator.cli import commands
from services.orchestrator.endpoints import connect
from services.orchestrator.exports.samples import PARITY_SET_ALONE, ExportedSamples
from services.orchestrator.rounds import StoppingRule, set_rule
from services.orchestrator.run.ledger.review_book import FILE, ReviewBook
from services.orchestrator.run.run import open_run, read_run
from services.orchestrator.run.state import Outcome
from services.orchestrator.steps.corrections import corrected_records, settle_reviews
from services.orchestrator.steps.evaluation import held_out_cases
from services.orchestrator.steps.parity_set import chosen
from services.orchestrator.steps.sampling import take_samples
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.rounds import rounds_bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher

ROOT = Path(__file__).resolve().parents[3]


def review(folder, record, *said):
    """Reviews a record; its shelf is the first."""
    with closing(ReviewBook(folder / FILE)) as book:
        label = record.image_sha256, record.question, record.answer
        book.add(0, label, checked_review("ann", *said))


@pytest.fixture
async def identified(tmp_path, pool):
    """The folder of a run whose records are in all cells, before its training."""
    teacher = ScriptedTeacher(noise=0.3)
    async with bench(tmp_path / "run", pool, teacher, full_matrix=True) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)
    return b.folder


def labels(samples):
    return {one.label: one.sample.cell for one in samples}


def one_of(run, *cells, held_out=False):
    return next(r for r in run.ledger.records() if r.cell in cells and r.held_out is held_out)


def test_verdicts_of_people_are_the_labels_of_a_run_that_uses_them(identified):
    with open_run(identified) as run:
        wrong, rejected = one_of(run, Cell.KNOWN), one_of(run, Cell.GAP)
        noise = one_of(run, Cell.NOISE_BOTH_WRONG)
        before = labels(chosen(run, None, 1.0))
        review(identified, wrong, "correct", "another answer")
        review(identified, rejected, "reject")
        review(identified, noise, "accept")
        assert labels(chosen(run, None, 1.0)) == before
        run.state.uses_reviews = True
        settle_reviews(run)
        after = labels(chosen(run, None, 1.0))
    corrected = (wrong.image_sha256, wrong.question, "another answer")
    left = {(r.image_sha256, r.question, r.answer) for r in (wrong, rejected)}
    accepted = (noise.image_sha256, noise.question, noise.answer)
    assert before.keys() - after.keys() == left
    assert {label: after[label] for label in after.keys() - before.keys()} == {
        corrected: Cell.GAP,
        accepted: Cell.GAP,
    }


def test_a_correction_that_the_student_gave_is_known(identified):
    with open_run(identified) as run:
        record = one_of(run, Cell.GAP)
        given = run.ledger.answer(record.image_sha256, record.question, "student", "v1")
        review(identified, record, "correct", given.answer)
        run.state.uses_reviews = True
        settle_reviews(run)
        (found,) = [r for r in corrected_records(run) if r.reviewed]
    assert (found.cell, found.answer, found.reviewed) == (Cell.KNOWN, given.answer, "corrected")


def test_a_confirmed_training_keeps_its_reviews(identified):
    with open_run(identified) as run:
        first, second = [r for r in run.ledger.records() if r.cell is Cell.GAP][:2]
        run.state.uses_reviews = True
        review(identified, first, "reject")
        settle_reviews(run)
        run.state.training_confirmed = True
        review(identified, second, "reject")
        settle_reviews(run)
        found = {(r.image_sha256, r.question) for r in corrected_records(run)}
    assert (first.image_sha256, first.question) not in found
    assert (second.image_sha256, second.question) in found


def test_a_review_that_comes_after_the_choice_changes_no_sample_of_it(identified):
    """It comes before the confirmation; the command is killed after it, and repeated."""
    with open_run(identified) as run:
        gap = [r for r in run.ledger.records() if r.cell is Cell.GAP and not r.held_out]
        first, second = gap[:2]
        run.state.uses_reviews = True
        review(identified, first, "correct", "first")
        chosen_before = alignment.choose(run)
        review(identified, second, "correct", "second")
        assert chosen(run, None, 1.0) == chosen(run, None, 1.0)
        run.state.training_confirmed = True
        assert alignment.choose(run) == chosen_before
        assert "second" not in {one.sample.answer for one in chosen_before}
    with open_run(identified) as run:
        run.state.training_confirmed = False
        assert "second" in {one.sample.answer for one in alignment.choose(run)}


def test_a_run_that_reviews_left_nothing_to_align_goes_on_without_them(identified):
    with open_run(identified) as run:
        for record in list(run.ledger.records()):
            review(identified, record, "reject")
        set_rule(run, StoppingRule(1, reviewed=True))
        with pytest.raises(NothingToAlign):
            alignment.choose(run)
        set_rule(run, StoppingRule(1, reviewed=True))
        assert run.state.outcome is Outcome.NOTHING_TO_ALIGN
        set_rule(run, StoppingRule(1))
        assert run.state.outcome is None
        assert alignment.choose(run)


def test_the_candidate_is_judged_by_reviewed_labels(identified):
    with open_run(identified) as run:
        noise, known = (one_of(run, *cells, held_out=True) for cells in (NOISE, {Cell.KNOWN}))
        review(identified, noise, "correct", "so it is")
        review(identified, known, "reject")
        before = {(c.image_sha256, c.question): c.references for c in held_out_cases(run)}
        run.state.uses_reviews = True
        settle_reviews(run)
        after = {(c.image_sha256, c.question): c.references for c in held_out_cases(run)}
    assert before.keys() - after.keys() == {(known.image_sha256, known.question)}
    assert after[noise.image_sha256, noise.question] == ("so it is",)


async def test_samples_of_the_teacher_do_not_reject_what_people_have_corrected(tmp_path, pool):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(), recipe="paper") as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)
            gap = [r for r in run.ledger.records() if r.cell is Cell.GAP and not r.held_out]
            for record in gap:
                review(b.folder, record, "correct", "none of the teacher's answers")
            run.state.uses_reviews = True
            strict = replace(run, settings=with_recipe(run.settings, samples=2, min_agreement=1.0))
            async with connect.teacher_only(b.where, b.folder, progress) as teacher:
                await take_samples(strict, teacher, progress)
            assert len(chosen(run, 0.0, 1.0)) >= len(gap) > 10


async def test_a_further_round_trains_on_what_people_corrected(tmp_path, pool):
    """The first round ends without a gain; a correction is the reason for another one."""
    student = ScriptedStudent(trained_skill=0.2)
    async with rounds_bench(tmp_path / "run", pool, student=student) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            rule = StoppingRule(2, reviewed=True)
            again = (run, b.where, None, lambda _: True, progress, rule)
            summary = await commands.align(*again)
            assert [row.outcome for row in summary.rounds] == [Outcome.NOT_PROMOTED]
            asked = b.student.calls["answer"]
            record = one_of(run, Cell.GAP)
            review(b.folder, record, "correct", "a new label")
            once = (*again[:-1], StoppingRule(1, reviewed=True))
            await commands.align(*once)
            assert "reviews since are for the next one" in b.output.getvalue()
            summary = await commands.align(*again)
            assert len(summary.rounds) == 2
            assert summary.rounds[1].version_before == "v1"
            assert "no gain in round 2" in summary.stopped
        lines = [json.loads(line) for line in b.parity_set().splitlines()]
        (line,) = [line for line in lines if "reviewed" in line]
        assert (line["sha256"], line["question"]) == (record.image_sha256, record.question)
        assert (line["answer"], line["reviewed"], line["cell"]) == (
            "a new label",
            "corrected",
            "gap",
        )
        assert b.student.calls["answer"] > asked  # of the new candidate, in the evaluation
        with (
            read_run(b.folder) as run,
            b.progress() as progress,
            progress.stage("export", "records", None) as meter,
        ):
            exported = ExportedSamples(run, PARITY_SET_ALONE, meter)
            assert "a new label" in {sample.answer for sample in exported.usable()}


async def test_a_run_without_a_gap_begins_again_when_it_is_reviewed(tmp_path, pool):
    student = ScriptedStudent(skills={"v1": 1.0})
    async with rounds_bench(tmp_path / "run", pool, student=student) as b:
        with pytest.raises(NothingToAlign):
            await b.align()
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            for record in list(run.ledger.records()):
                review(b.folder, record, "correct", "quite another")
            rule = StoppingRule(1, reviewed=True)
            summary = await commands.align(run, b.where, None, lambda _: True, progress, rule)
    assert summary.parity_set > 100


@pytest.mark.slow
@pytest.mark.parametrize("command", ["align", "level"])
async def test_the_commands_use_reviews_if_they_are_asked_to(tmp_path, pool, command):
    async with bench(tmp_path / "run", pool) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)
            record = one_of(run, Cell.GAP)
            review(b.folder, record, "correct", "a new label")
        known = ["--student", b.where.student, "--yes", "--reviewed"]
        if command == "align":
            given = [pool, "--task", "vqa", "--recipe", "rehearsal", "--run", b.folder]
            known += ["--teacher", b.where.teacher, "--no-cache", "--rounds", "1"]
        else:
            given = [b.folder]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.orchestrator.cli.main", command),
            *map(str, [*given, *known]),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
        lines = [json.loads(line) for line in b.parity_set().splitlines()]
    assert [line["answer"] for line in lines if "reviewed" in line] == ["a new label"]


def test_a_gap_that_reviews_have_made_is_to_be_aligned(identified):
    """`level --reviewed` trains it, and `promote` would be silent about a run with an outcome."""
    with open_run(identified) as run:
        run.state.outcome = Outcome.NOTHING_TO_ALIGN  # as before the reviews
        assert alignment.choose(run)
        assert run.state.outcome is None
