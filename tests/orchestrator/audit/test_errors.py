"""Errors of the gap by category: by rule, by the teacher as judge, and by people in the page."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from protos.mpa.v1 import student_pb2, teacher_pb2
from services.core.errors import BadReply, InvalidInput
from services.core.intervals import wilson
from services.core.knowledge_gaps import RULES
from services.orchestrator.audit.breakdown import of_tags
from services.orchestrator.cli import commands
from services.orchestrator.run.run import open_run, read_run
from tests.orchestrator import scripted
from tests.orchestrator.audit.conftest import fill_in, invoke, key, sheet
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import in_bulk


class Judge(ScriptedTeacher):
    """A judge that answers "B" to most errors; `templates`: the templates of its prompts."""

    def __init__(self, **how):
        super().__init__(**how)
        self.templates = []

    async def Answer(self, request, context):
        reply = await super().Answer(request, context)
        if "what kind of mistake" in request.template:
            self.templates.append(request.template)
            reply.answer = (
                "B. guessed" if scripted.draw("verdict", request.question) < 0.8 else "I can't say"
            )
        return reply

    AnswerStream = in_bulk(Answer, teacher_pb2.TeacherServiceAnswerStreamResponse)


class Guesser(ScriptedStudent):
    """A student that mostly guesses if it doesn't know, and says so otherwise."""

    async def Answer(self, request, context):
        reply = await super().Answer(request, context)
        if reply.answer == "unknown" and scripted.draw("guess", request.question) < 0.7:
            reply.answer = "mauve"
        return reply

    AnswerStream = in_bulk(Answer, student_pb2.AnswerStreamResponse)


async def identified(b):
    with open_run(b.folder, b.settings) as run, b.progress() as progress:
        await commands.annotate(run, b.where, progress)
        await commands.identify(run, b.where, progress)


async def tagged(b, where, count=30, seed=0):
    with read_run(b.folder) as run, b.progress() as progress:
        return await commands.tag_errors(run, where, count, seed, progress)


async def test_rules_first_and_the_teacher_for_the_rest_and_never_twice(tmp_path, pool):
    cache = tmp_path / "cache.sqlite"
    async with bench(tmp_path / "run", pool, Judge(), Guesser(), cache=cache) as b:
        await identified(b)
        alone = await tagged(b, None)
        assert {tag.category.name for tag in alone.tags if tag.category} == {"no_knowledge"}
        assert {tag.by for tag in alone.tags} == {RULES, ""}
        found = await tagged(b, b.where)
        again = await tagged(b, b.where)
    undecided = [tag for tag in alone.tags if not tag.category]
    assert 0 < len(undecided) < 30
    assert len(b.teacher.templates) == len(undecided)  # once, in two rounds of asking
    assert found == again
    assert [tag.drawn for tag in found.tags] == [tag.drawn for tag in alone.tags]
    assert Counter(tag.category and tag.category.name for tag in found.tags) == {
        "no_knowledge": 30 - len(undecided),
        "guesswork": sum(scripted.draw("verdict", tag.drawn.question) < 0.8 for tag in undecided),
        None: sum(scripted.draw("verdict", tag.drawn.question) >= 0.8 for tag in undecided),
    }
    for tag in found.tags:
        assert tag.by == (
            RULES if tag.category and tag.category.name == "no_knowledge" else "teacher-a"
        )
        assert tag.mistake.prediction in ("mauve", "unknown")
    assert all(
        f"Right answer: {tag.drawn.answer}\n" in "".join(b.teacher.templates) for tag in undecided
    )


async def test_what_the_judge_fails_on_stays_undecided(tmp_path, pool):
    teacher = Judge()
    async with bench(tmp_path / "run", pool, teacher, Guesser()) as b:
        await identified(b)
        teacher.fails = lambda kind, seed: BadReply("nonsense")
        found = await tagged(b, b.where)
    judged = [tag for tag in found.tags if tag.by != RULES]
    assert judged
    assert {(tag.category, tag.by, tag.said) for tag in judged} == {(None, "", "nonsense")}


async def test_the_breakdown_counts_every_error_once(tmp_path, pool):
    async with bench(tmp_path / "run", pool, Judge(), Guesser()) as b:
        await identified(b)
        found = await tagged(b, b.where)
    made = of_tags(found)
    assert sum(part.count for part in made.parts) == made.errors == 30
    assert [part.category and part.category.name for part in made.parts] == [
        "no_knowledge",
        "guesswork",
        "verbose",
        "noisy",
        None,
    ]
    lacking = made.parts[0]
    assert lacking.by_rule == lacking.count > 0
    assert lacking.share == wilson(lacking.count, 30, made.population)


async def test_a_task_without_categories_is_told(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        await identified(b)
        with (
            read_run(b.folder) as run,
            pytest.raises(InvalidInput, match="no categories of errors for captioning"),
        ):
            captions = replace(run, settings=replace(run.settings, task="captioning"))
            with b.progress() as progress:
                await commands.tag_errors(captions, None, 10, 0, progress)


def test_by_command_without_a_judge(run, tmp_path):
    """The student of this run always says that it doesn't know."""
    output = tmp_path / "tags.jsonl"
    said = invoke("audit", "errors", run, "--items", 20, "--output", output)
    rows = dict(line.split("\t", 1) for line in said.splitlines() if "\t" in line)
    assert rows["Lack of internal knowledge grounding"].startswith("20\t20\t100.0 (")
    assert rows["Correct but Verbose"].endswith("\tno")
    assert "20 of the gap's " in said
    assert f"by {RULES}" in said
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert {(line["student_answer"], line["category"], line["by"]) for line in lines} == {
        ("unknown", "no_knowledge", RULES)
    }
    found = json.loads(invoke("audit", "errors", run, "--items", 5000, "--json"))
    assert found["errors"] == found["population"] == found["categories"]["no_knowledge"]["errors"]


def test_people_see_the_student_answer_and_choose_one_category(run, draw):
    folder = draw("--of", "errors", "--items", 12)
    page = sheet(folder)
    assert {tuple(name for name, _ in item["texts"]) for item in page["items"]} == {
        ("Question", "Right answer", "The model's answer")
    }
    (question,) = page["questions"]
    assert [choice["value"] for choice in question["choices"]] == [
        "no_knowledge",
        "guesswork",
        "verbose",
        "noisy",
    ]
    assert {tuple(item["arms"]) for item in key(folder)["items"].values()} == {("after",)}


def test_the_raters_counts_of_errors(draw):
    folder = draw("--of", "errors", "--items", 12)
    half = sorted(key(folder)["items"])[:6]
    ann = fill_in(folder, "ann", lambda item, question: "guesswork")
    bob = fill_in(
        folder, "bob", lambda item, question: "guesswork" if item["id"] in half else "noisy"
    )
    found = json.loads(invoke("audit", "report", folder, ann, bob, "--json"))
    assert {name: part["errors"] for name, part in found["categories"].items()} == {
        "no_knowledge": 0,
        "guesswork": 9,
        "verbose": 0,
        "noisy": 3,
    }
    assert found["by"] == ["ann", "bob"]
    # 24 ratings, 6 of them the rarer one; half of the pairs on one item differ.
    assert found["alpha"] == pytest.approx(1 - (12 / 24) / (2 * 18 * 6 / (24 * 23)))
    said = invoke("audit", "report", folder, ann, bob)
    assert "agreement of the raters (Krippendorff's alpha): -0.28" in said
    bob.write_text(bob.read_text().replace('"noisy"', '"trend"'))
    assert "\"category\" is 'trend', not one of" in invoke(
        "audit", "report", folder, ann, bob, code=1
    )


def test_errors_and_labelled_questions_do_not_mix(draw, tmp_path):
    assert "--human is for annotations" in draw("--of", "errors", "--human", tmp_path, code=2)
