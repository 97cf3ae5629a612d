"""Label noise of the training samples: its calls, its results, its rejections, its
interruptions.
"""

import io
import json
from collections import Counter
from contextlib import suppress

import pytest
from rich.console import Console

from services.core.errors import (
    InvalidInput,
    MpaError,
    NothingToAlign,
    Pending,
    Unavailable,
    WrongState,
)
from services.core.recipes import Amendments
from services.orchestrator.reports.summary import show
from services.orchestrator.run.entries import read_entries
from services.orchestrator.run.ledger.search import Filter
from services.orchestrator.run.run import open_run, settings_of
from services.orchestrator.run.settings import Settings, new_settings, require_same
from tests.orchestrator.cli.test_main import align_arguments, at, run
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.endpoints.test_panel import panel, teacher
from tests.orchestrator.scripted import MISTAKE, ScriptedStudent, ScriptedTeacher
from tests.orchestrator.test_in_turn import align_in_turn

FOUR = Amendments(samples=4)
FILTERED = Amendments(samples=4, min_agreement=0.6)


def noisy(wavering=0.1, **script) -> ScriptedTeacher:
    return ScriptedTeacher(noise=0.2, wavering=wavering, **script)


def labels(b) -> list[dict]:
    return [json.loads(line) for line in b.parity_set().splitlines()]


async def test_the_estimate_is_the_noise_that_is_there(tmp_path, pool):
    async with bench(tmp_path / "run", pool, noisy(), amendments=FOUR, limit=60) as b:
        summary = await b.align()
    chosen = labels(b)
    wrong = sum(label["answer"] == MISTAKE for label in chosen)
    noise = summary.label_noise
    assert noise.noise.of == len(chosen)
    assert wrong > 10
    assert noise.noise.low <= wrong / len(chosen) <= noise.noise.high
    assert sum(noise.agreement.values()) == len(chosen)
    assert next(iter(noise.agreement)) == "4/4"
    with open_run(b.folder) as run:
        entries = [
            entry for entry in read_entries(run.ledger, Filter(usable=True)) if entry.samples.asked
        ]
    assert (
        Counter(f"{entry.samples.agreed}/{entry.samples.asked}" for entry in entries)
        == noise.agreement
    )
    assert noise.by_cell["gap"].share > noise.noise.share > noise.by_cell["unasked"].share == 0
    assert summary.sample_calls == b.teacher.calls["sample"] == 4 * len(chosen)
    seeds = [key[-1] for key in b.teacher.keys if key[0] == "sample"]
    assert len(set(seeds)) == len(seeds)
    shown = io.StringIO()
    show(summary, Console(file=shown, width=200))
    assert f"label noise  {noise.noise.share:.1%} ({noise.noise.low:.1%} to" in shown.getvalue()
    assert f"samples {4 * len(chosen):,}" in shown.getvalue()


async def test_the_filter_takes_out_the_noise_and_keeps_the_reason(tmp_path, pool):
    """The rehearsed samples are as many as the remaining gap samples."""
    skills = {"v1": 0.7}
    student = ScriptedStudent(skills=dict(skills))
    async with bench(
        tmp_path / "all", pool, noisy(0.2), student, amendments=FOUR, limit=60
    ) as everything:
        before = await everything.align()
    student = ScriptedStudent(skills=dict(skills))
    async with bench(
        tmp_path / "run", pool, noisy(0.2), student, amendments=FILTERED, limit=60
    ) as b:
        summary = await b.align()
    wrong = {
        (row["sha256"], row["question"]) for row in labels(everything) if row["answer"] == MISTAKE
    }
    assert len(wrong) > 10
    assert MISTAKE not in {label["answer"] for label in labels(b)}
    out = set(
        rows(
            b.folder,
            "SELECT image_sha256, question FROM annotations WHERE rejection = 'low_agreement'",
        )
    )
    assert wrong <= out
    assert summary.rejected == {"low_agreement": len(out)}
    assert ("0 of 4 samples agree",) in rows(
        b.folder, "SELECT detail FROM annotations WHERE rejection = 'low_agreement'"
    )
    assert summary.label_noise.by_cell["gap"] == before.label_noise.by_cell["gap"]
    cells = Counter(label["cell"] for label in labels(b))
    rejected = Counter(cell for (cell,) in rows(b.folder, REJECTED_CELLS))
    assert (
        cells["unasked"]
        == cells["gap"]
        == before.label_noise.by_cell["gap"].of - rejected["gap"]
        > 10
    )
    assert rejected["unasked"] > 0


REJECTED_CELLS = """
SELECT cell FROM records JOIN annotations USING (image_sha256, number)
WHERE rejection = 'low_agreement'
"""


@pytest.mark.parametrize(
    ("amendments", "why"),
    [
        (Amendments(samples=2, min_agreement=1.0), r"--min-agreement rejected \d\d others"),
        (Amendments(max_share_per_kind=0.1), r"--max-share-per-kind 0.1 leaves no more of \d\d"),
    ],
)
async def test_filters_that_leave_nothing_to_train_on_are_named(tmp_path, pool, amendments, why):
    teacher = noisy(wavering=0.9)
    async with bench(tmp_path / "run", pool, teacher, amendments=amendments, limit=60) as b:
        with pytest.raises(NothingToAlign, match=why):
            await b.align()


@pytest.mark.parametrize("kinds", [("answer",), ("sample",)])
async def test_a_stop_repeats_no_sample_and_ends_with_the_same_set(tmp_path, pool, kinds):
    async with bench(tmp_path / "calm", pool, noisy(), amendments=FILTERED, limit=60) as calm:
        whole = await calm.align()
    again = noisy()
    limit = 0

    def trouble(_: str):
        return Unavailable("gone") if sum(again.calls[kind] for kind in kinds) >= limit else None

    again.trouble = trouble
    async with bench(
        tmp_path / "run", pool, again, amendments=FILTERED, limit=60, patience_s=0.1
    ) as b:
        for limit in (20, 60, 90):  # noqa: B007 (the script reads it)
            with suppress(Unavailable):  # some have fewer calls
                await b.align()
    limit = 10**9
    async with bench(tmp_path / "run", pool, again, amendments=FILTERED, limit=60) as b:
        summary = await b.align()
    assert b.parity_set() == calm.parity_set()
    assert set(again.keys) == set(calm.teacher.keys)
    assert (summary.sample_calls, summary.label_noise) == (whole.sample_calls, whole.label_noise)


async def test_a_finished_estimate_is_asked_for_once(tmp_path, pool):
    async with bench(tmp_path / "run", pool, noisy(), amendments=FILTERED, limit=60) as b:
        await b.align()
        calls = b.teacher.calls.total()
        await b.align()
    assert b.teacher.calls.total() == calls
    assert max(b.teacher.keys.values()) == 1


async def test_every_teacher_is_sampled_and_one_sees_what_two_do_not(tmp_path, pool):
    """Two of three share a mistake and repeat it: it wins the vote, and each agrees with itself."""
    first = teacher("a", noise=0.3, stubborn=True, skill=1.0)
    second = teacher("b", noise=0.3, stubborn=True, skill=1.0, errs_like="teacher-a")
    third = teacher("c", skill=1.0)
    async with panel(tmp_path / "run", pool, first, second, third, amendments=FOUR, limit=60) as b:
        summary = await b.align()
    wrong = sum(label["answer"] == MISTAKE for label in labels(b))
    assert summary.label_noise.agreement == {"12/12": len(labels(b)) - wrong, "8/12": wrong}
    assert wrong > 10


async def test_one_device_at_a_time_takes_the_same_samples(tmp_path, pool):
    async with bench(tmp_path / "beside", pool, noisy(), amendments=FILTERED, limit=60) as beside:
        expected = await beside.align()
    async with bench(tmp_path / "run", pool, noisy(), amendments=FILTERED, limit=60) as b:
        summary = await align_in_turn(b)
    assert b.parity_set() == beside.parity_set()
    assert summary.label_noise == expected.label_noise


async def test_a_teacher_that_fails_most_samples_stops_the_run_and_one_that_fails_a_few_does_not(
    tmp_path, pool
):
    few = noisy(
        fails=lambda kind, seed: (
            InvalidInput("not this one") if kind == "sample" and seed % 10 == 0 else None
        )
    )
    async with bench(tmp_path / "few", pool, few, amendments=FOUR, limit=60) as b:
        summary = await b.align()
    assert any(share.endswith("/3") for share in summary.label_noise.agreement)
    most = noisy(
        fails=lambda kind, seed: InvalidInput("no") if kind == "sample" and seed % 10 else None
    )
    async with bench(tmp_path / "most", pool, most, amendments=FOUR, limit=60) as b:
        with pytest.raises(MpaError, match=r"failed on \d+ of \d+ samples \(no\)"):
            await b.align()
        assert b.student.trainings == []
        most.fails = lambda *_: None
        assert set((await b.align()).label_noise.agreement) <= {"4/4", "3/4", "2/4", "1/4", "0/4"}


async def test_samples_in_a_providers_batch_stop_the_run_until_they_are_there(tmp_path, pool):
    batch = noisy(
        fails=lambda kind, _: (
            Pending("batch_7 is under way", retry_after_s=60) if kind == "sample" else None
        )
    )
    async with bench(tmp_path / "run", pool, batch, amendments=FOUR, limit=60) as b:
        with pytest.raises(Pending, match=r"\d+ samples have to wait: batch_7"):
            await b.align()
        batch.fails = lambda *_: None
        summary = await b.align()
    assert summary.sample_calls == 4 * summary.parity_set


def test_a_filter_needs_samples():
    with pytest.raises(InvalidInput, match="--samples"):
        new_settings("images", "vqa", "paper", amendments=Amendments(min_agreement=0.5))


def test_a_run_keeps_its_amendments(tmp_path):
    stored = new_settings("images", "vqa", "paper", amendments=FILTERED)
    assert Settings.from_json(stored.to_json()) == stored
    with pytest.raises(WrongState, match=r"paper.min_agreement: 0.6 there, 0.0 now"):
        require_same(stored, new_settings("images", "vqa", "paper", amendments=FOUR), tmp_path)


async def test_every_option_of_the_command_reaches_the_run(tmp_path, pool):
    options = {
        "--questions": 3,
        "--max-per-kind": 2,
        "--max-share-per-kind": 0.9,
        "--samples": 2,
        "--min-agreement": 0.5,
    }
    words = [
        str(word) for option in (*options.items(), ("--sample-temperature", 0.4)) for word in option
    ]
    async with bench(tmp_path / "run", pool, noisy()) as b:
        code, output, errors = await run(
            *align_arguments(b, "--limit", 30, "--distinct", *words), *at(b)
        )
    assert code in (0, 3), errors
    assert "label noise" in output
    recipe = settings_of(b.folder).recipe
    assert (recipe.questions_per_image, recipe.distinct_questions, recipe.max_per_kind) == (
        3,
        True,
        2,
    )
    assert (recipe.max_share_per_kind, recipe.samples, recipe.min_agreement) == (0.9, 2, 0.5)
    assert recipe.sample_temperature == 0.4
