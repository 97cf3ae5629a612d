"""Matchers of a run: one for the teacher, another for the student if the recipe or the run
has it.
"""

from dataclasses import replace

import pytest

from services.core.answers import MATCHERS
from services.core.errors import InvalidInput
from services.core.recipes import RECIPES
from services.orchestrator.cli import commands
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.run import open_run, settings_of
from services.orchestrator.run.settings import Settings, new_settings
from tests.orchestrator.cli.test_main import run
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent


class WordyStudent(ScriptedStudent):
    """A teacher with the scripted one's knowledge that answers in a sentence."""

    def says(self, text: str) -> str:
        return f"I think it is {text}"


async def cells(folder, pool, student, **settings):
    async with bench(folder, pool, student=student, **settings) as b:
        with open_run(b.folder, b.settings) as opened, b.progress() as progress:
            await commands.annotate(opened, b.where, progress)
            summary = await commands.identify(opened, b.where, progress)
    ledger = Ledger(folder / "ledger.sqlite", read_only=True)
    try:
        return (
            summary.cells,
            set(ledger.read("SELECT matcher, student_matcher FROM records")),
            b.teacher.calls["answer"],
        )
    finally:
        ledger.close()


async def test_a_lenient_matcher_for_the_student_leaves_the_teacher_judged_strictly(tmp_path, pool):
    plain, identities, plain_calls = await cells(tmp_path / "plain", pool, ScriptedStudent())
    assert identities == {("exact@1", "exact@1")}
    strict, _, strict_calls = await cells(tmp_path / "strict", pool, WordyStudent())
    assert strict["unasked"] == 0 < plain["unasked"]  # every sentence counts as wrong
    lenient, identities, calls = await cells(
        tmp_path / "lenient", pool, WordyStudent(), student_matcher="contains"
    )
    assert (lenient, calls) == (plain, plain_calls)
    assert calls < strict_calls
    assert identities == {("exact@1", "contains@1")}


async def test_the_option_reaches_the_run(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        given = (
            "annotate",
            pool,
            "--task",
            "vqa",
            "--teacher",
            b.where.teacher,
            "--run",
            b.folder,
            "--limit",
            2,
        )
        code, _, errors = await run(*given, "--matcher", "exact", "--student-matcher", "contains")
    assert code == 0, errors
    settings = settings_of(b.folder)
    assert (settings.matcher, settings.student_matcher) == ("exact@1", "contains@1")


def test_the_students_matcher_is_the_runs_the_recipes_or_the_teachers(monkeypatch):
    monkeypatch.setitem(
        RECIPES, "lenient", replace(RECIPES["paper"], name="lenient", student_matcher="anls")
    )
    assert new_settings("pool", "vqa", "lenient").the_student_matcher is MATCHERS["anls"]
    assert (
        new_settings("pool", "vqa", "lenient", student_matcher="contains").the_student_matcher
        is MATCHERS["contains"]
    )
    same = new_settings("pool", "vqa", "paper", student_matcher="exact")
    assert same == new_settings("pool", "vqa", "paper")
    assert same.the_student_matcher is same.the_matcher is MATCHERS["exact"]
    with pytest.raises(InvalidInput, match="no matcher 'loose'"):
        new_settings("pool", "vqa", "paper", student_matcher="loose")


def test_a_run_that_was_begun_before_there_were_two_is_taken_up():
    settings = new_settings("pool", "vqa", "paper")
    old = settings.to_json().replace(', "student_matcher": ""', "")
    assert old.count("student_matcher") == 0
    assert Settings.from_json(old) == settings
