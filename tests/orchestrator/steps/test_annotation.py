"""Several questions about one image: the prompts, and the questions that stay, whatever
failed first.
"""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput, NothingToAlign
from services.core.recipes import Amendments
from services.core.tasks import TASKS
from services.orchestrator.cli import commands
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedTeacher, draw

WORDINGS = (
    "what color is the car?",
    "which color is the car?",
    "what shape is the car?",
    "is the car red?",
)
DISTINCT = Amendments(questions_per_image=4, distinct_questions=True)


def one_of_four(sha256: str, seed: int) -> str:
    return WORDINGS[int(draw(sha256, seed) * 4)]


def kept(b) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sha256, question in rows(
        b.folder,
        "SELECT image_sha256, question FROM annotations "
        "WHERE rejection = '' ORDER BY image_sha256, number",
    ):
        found.setdefault(sha256, []).append(question)
    return found


async def test_other_wordings_are_collapsed_and_name_the_question_that_stays(tmp_path, pool):
    async with bench(
        tmp_path / "run", pool, ScriptedTeacher(question=one_of_four), amendments=DISTINCT, limit=60
    ) as b:
        summary = await b.align()
    assert summary.rejected.keys() == {"duplicate", "near_duplicate"}
    assert summary.annotations + sum(summary.rejected.values()) == 240
    for questions in kept(b).values():
        assert len(questions) == len(set(questions))
        assert not {*WORDINGS[:2]} <= set(questions)
    detail = rows(
        b.folder,
        "SELECT DISTINCT detail FROM annotations WHERE rejection = 'near_duplicate' AND number = 1",
    )
    assert set(detail) == {(f"question 1 stays: {wording}",) for wording in WORDINGS[:2]}


async def test_without_the_option_only_the_very_same_question_is_collapsed(tmp_path, pool):
    amendments = Amendments(questions_per_image=4)
    async with bench(
        tmp_path / "run",
        pool,
        ScriptedTeacher(question=one_of_four),
        amendments=amendments,
        limit=60,
    ) as b:
        summary = await b.align()
    assert summary.rejected.keys() == {"duplicate"}
    assert any({*WORDINGS[:2]} <= set(questions) for questions in kept(b).values())
    assert set(b.teacher.prompts) == {TASKS["vqa"].annotation_prompt}


async def test_each_further_question_is_told_the_earlier_ones(tmp_path, pool):
    async with bench(tmp_path / "run", pool, amendments=DISTINCT, limit=60) as b:
        await b.align()
    prompt = TASKS["vqa"].annotation_prompt
    assert all(asked.endswith(prompt) for asked in b.teacher.prompts)
    assert Counter(asked.count("\n- ") for asked in b.teacher.prompts) == {
        0: 60,
        1: 60,
        2: 60,
        3: 60,
    }
    assert b.teacher.prompts.count(prompt) == 60
    told = {
        line[2:]
        for asked in b.teacher.prompts
        for line in asked.splitlines()
        if line.startswith("- ")
    }
    first = {
        question
        for (question,) in rows(b.folder, "SELECT question FROM annotations WHERE number < 3")
    }
    assert told == first


async def test_an_image_keeps_at_most_so_many_questions_of_a_kind(tmp_path, pool):
    amendments = Amendments(questions_per_image=4, max_per_kind=2)
    async with bench(tmp_path / "run", pool, amendments=amendments, limit=60) as b:
        summary = await b.align()
    assert summary.rejected == {"kind_full": 120}
    assert {len(questions) for questions in kept(b).values()} == {2}


CHAIN = (
    "how many red cars do people see",
    "how many red cars do people see outside",
    "how many cars do people see outside",
)
"""Each is a near-duplicate of its neighbour, the first is none of the last."""


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_call_that_failed_and_is_made_again_leaves_the_same_questions(
    tmp_path, pool, failing
):
    """A late reply may free a question that was collapsed before: all are compared again."""
    amendments = Amendments(questions_per_image=3, distinct_questions=True)
    async with bench(tmp_path / "run", pool, amendments=amendments, limit=4) as b:
        number_of = {
            b.settings.annotation_decoding(sha256, number, 0).seed: number
            for sha256 in (
                hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(pool.iterdir())[:4]
            )
            for number in range(3)
        }
        b.teacher.question = lambda _, seed: CHAIN[number_of[seed]]
        b.teacher.fails = lambda _, seed: (
            InvalidInput("not now") if number_of.get(seed) == failing else None
        )
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
        assert [questions == [CHAIN[0], CHAIN[2]] for questions in kept(b).values()] == [
            failing == 1
        ] * 4
        b.teacher.fails = lambda *_: None
        with pytest.raises(NothingToAlign):
            await b.align()
    assert list(kept(b).values()) == [[CHAIN[0], CHAIN[2]]] * 4


@pytest.mark.parametrize("reason", ["cut_off", "no_question", "no_answer", "placeholder"])
async def test_an_unusable_reply_is_asked_for_once_more_with_another_seed(tmp_path, pool, reason):
    firsts: dict[str, int] = {}

    def rejects(sha256: str, seed: int) -> str:
        return reason if firsts.setdefault(sha256, seed) == seed else ""

    teacher = ScriptedTeacher(rejects=rejects)
    async with bench(tmp_path / "run", pool, teacher, recipe="paper", limit=20) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
    assert teacher.calls["annotate"] == 40
    found = rows(
        b.folder,
        "SELECT attempt, rejection, count(*), count(DISTINCT seed) FROM annotations GROUP BY 1, 2",
    )
    assert found == [(0, reason, 20, 20), (1, "", 20, 20)]
    assert not set(rows(b.folder, "SELECT seed FROM annotations GROUP BY seed HAVING count(*) > 1"))


@pytest.mark.parametrize(
    "reason",
    ["refusal", "content_filter", "question_too_long", "answer_too_long", "answer_in_question"],
)
async def test_a_reply_that_was_withheld_or_breaks_a_limit_is_not_asked_for_again(
    tmp_path, pool, reason
):
    teacher = ScriptedTeacher(rejects=lambda *_: reason)
    async with bench(tmp_path / "run", pool, teacher, recipe="paper", limit=20) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
    assert teacher.calls["annotate"] == 20


async def test_cut_off_twice_it_is_left_with_its_reason(tmp_path, pool):
    teacher = ScriptedTeacher(rejects=lambda *_: "cut_off")
    async with bench(tmp_path / "run", pool, teacher, recipe="paper", limit=20) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            summary = await commands.annotate(run, b.where, progress)
    assert teacher.calls["annotate"] == 40
    assert summary.rejected == {"cut_off": 20}


async def test_a_task_with_one_question_for_all_images_asks_the_teacher_once_about_each(
    tmp_path, pool
):
    async with bench(tmp_path / "run", pool, recipe="rehearsal", limit=20) as b:
        b.settings = replace(
            new_settings(str(pool), "captioning", "rehearsal", limit=20), focus=True
        )
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            summary = await commands.annotate(run, b.where, progress)
    assert b.teacher.calls["annotate"] == 20
    assert summary.rejected == {}
    with pytest.raises(InvalidInput, match="leave out --questions"):
        new_settings(str(pool), "ocr", "rehearsal", amendments=Amendments(questions_per_image=2))
