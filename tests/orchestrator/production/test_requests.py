"""Production disagreement: the requests that join the gap, the parity set and the next round."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from typer.testing import CliRunner

from services.core.errors import InvalidInput, MpaError, Unavailable
from services.core.parity import is_held_out
from services.engines.images import sha256
from services.orchestrator import in_turn, rounds
from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.production import requests
from services.orchestrator.rounds import ONE_ROUND, StoppingRule
from services.orchestrator.run.run import open_run
from services.rpc.client import Picture, StudentClient
from services.student.production import SampleSettings
from tests.orchestrator.conftest import bench, rows, with_recipe
from tests.orchestrator.production.test_samples import write_samples
from tests.orchestrator.rounds import improving, in_ledger
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher, draw
from tests.pictures import numbered_png
from tests.serving import fake_student_settings, serving_student

AUDITED = """
SELECT a.image_sha256, a.number, a.text, a.answer, a.rejection, r.cell FROM annotations a
LEFT JOIN records r ON r.image_sha256 = a.image_sha256 AND r.number = a.number AND r.round = 1
WHERE origin = 'production' ORDER BY 1, 2
"""
ASKED = [(500 + number, f"what color is sign {number}?") for number in range(60)]


@pytest.fixture
def samples(tmp_path):
    """60 images that aren't in the pool, a question each."""
    return write_samples(tmp_path / "samples", ASKED)


async def align(b, *folders, rule=ONE_ROUND):
    with open_run(b.folder, b.settings) as run, b.progress() as progress:
        return await commands.align(
            run, b.where, b.labelled, lambda _: True, progress, rule, production=folders
        )


async def test_what_users_asked_and_the_student_missed_joins_the_gap(tmp_path, pool, samples):
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await align(b, samples)
    found = {
        (image, text): (answer, cell) for image, _, text, answer, _, cell in rows(b.folder, AUDITED)
    }
    for number, question in ASKED:
        image = sha256(numbered_png(number))
        skill = draw("skill", image, question)  # of the student 0.4, of the teacher 0.95
        if skill < 0.95:
            assert found[image, question][1] == ("unasked" if skill < 0.4 else "gap")
    lines = [json.loads(line) for line in b.parity_set().splitlines()]
    audited = {
        (line["sha256"], line["question"])
        for line in lines
        if line["origin"] == "production" and line["cell"] == "gap"
    }
    gap = {asked for asked, (_, cell) in found.items() if cell == "gap"}
    assert (
        audited
        == {(image, question) for image, question in gap if not is_held_out(image, 0.3)}
        != set()
    )
    assert {line["origin"] for line in lines} == {"pool", "production"}
    assert audited <= {(sample.image_sha256, sample.question) for sample in b.student.samples}, (
        "and is trained on"
    )
    assert summary.promoted
    assert summary.audited["gap"] == len(gap)
    assert sum(summary.audited.values()) == len(ASKED)
    assert "60 requests audited" in CliRunner().invoke(app, ["status", str(b.folder)]).output
    shown = (
        CliRunner()
        .invoke(app, ["runs", "show", str(b.folder), "--json", "--cell", "gap", "--limit", "1000"])
        .output
    )
    listed = [json.loads(line) for line in shown.splitlines()]
    assert sum(row["origin"] == "production" for row in listed) == len(gap)


async def test_from_the_endpoint_to_the_parity_set(tmp_path, pool):
    """The real service with the fake engine keeps what a user asks; a run picks it up."""
    folder = tmp_path / "samples"
    settings = replace(fake_student_settings(tmp_path), samples=SampleSettings(folder, 1.0, 2**30))
    asked = {(sha256(numbered_png(number)), question) for number, question in ASKED[:20]}
    async with serving_student(settings) as peer, StudentClient(peer.address) as user:
        for number, question in ASKED[:20]:
            await user.answer(Picture(sha256(numbered_png(number)), numbered_png(number)), question)
    async with bench(tmp_path / "run", pool) as b:
        await align(b, folder)
    found = {(image, text): cell for image, _, text, _, _, cell in rows(b.folder, AUDITED)}
    assert found.keys() == asked
    trained = {(sample.image_sha256, sample.question) for sample in b.student.samples}
    assert {
        asked for asked, cell in found.items() if cell == "gap" and not is_held_out(asked[0], 0.15)
    } <= trained


async def test_a_run_without_samples_is_as_ever(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        await align(b)
    assert rows(b.folder, AUDITED) == []
    assert not (b.folder / "production").exists()
    assert {json.loads(line)["origin"] for line in b.parity_set().splitlines()} == {"pool"}


async def test_what_the_teacher_does_not_stand_by_is_no_gap(tmp_path, pool, samples):
    """Asked greedily the teacher repeats its mistake; samples reveal it."""
    teacher = ScriptedTeacher(noise=0.3)
    async with bench(tmp_path / "run", pool, teacher) as b:
        await align(b, samples)
    rejections = {
        (image, text): (rejection, cell)
        for image, _, text, _, rejection, cell in rows(b.folder, AUDITED)
    }
    mistaken = {asked for asked in rejections if teacher.is_mistaken(*asked)}
    assert 5 < len(mistaken) < 40
    assert {rejections[asked] for asked in mistaken} == {("low_agreement", "gap")}
    assert not any(
        json.loads(line)["answer"] == "mauve"
        for line in b.parity_set().splitlines()
        if "sign" in line
    )
    standing = [
        cell
        for asked, (rejection, cell) in rejections.items()
        if asked not in mistaken and not rejection
    ]
    assert standing.count("gap") > 10


async def test_a_question_that_the_pool_holds_already_is_not_audited(tmp_path, pool, samples):
    async with bench(tmp_path / "run", pool) as b:
        await align(b)
    (path, question) = rows(
        b.folder,
        "SELECT path, question FROM images JOIN annotations ON image_sha256 = sha256 LIMIT 1",
    )[0]
    again = write_samples(
        tmp_path / "again", [(int(path[:3]), question), (int(path[:3]), "what color is sign 7?")]
    )
    async with bench(tmp_path / "again-run", pool) as b:
        await align(b, again)
    assert [text for _, _, text, *_ in rows(b.folder, AUDITED)] == ["what color is sign 7?"]
    assert rows(b.folder, "SELECT count(*) FROM images WHERE path LIKE 'production:%'") == [(0,)], (
        "it is an image of the pool"
    )


async def test_the_segments_may_vanish_once_the_run_has_them(tmp_path, pool, samples):
    async with bench(tmp_path / "run", pool) as b:
        b.student.refusal = MpaError("the orchestrator stops here")
        with pytest.raises(MpaError, match="stops here"):
            await align(b, samples)
        for segment in list(samples.iterdir()):
            segment.rename(tmp_path / segment.name)
        b.student.refusal = None
        assert (await align(b, samples)).outcome != "unfinished"


async def test_later_rounds_identify_them_anew_and_take_in_what_was_asked_since(
    tmp_path, pool, samples
):
    async with bench(tmp_path / "run", pool, student=improving()) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        first = await align(b, samples)
        write_samples(samples, [(800 + number, "what color is the door?") for number in range(20)])
        second = await align(b, samples, rule=StoppingRule(2))
    by_round = "SELECT round, count(*) FROM records WHERE number >= 1000 GROUP BY round"
    (_, earlier), (_, later) = rows(b.folder, by_round)
    assert later == earlier + 20
    assert second.rounds[1].records == first.rounds[0].records + 20
    moves = {(move.before, move.after): move.count for move in second.rounds[1].moves}
    assert sum(count for (before, _), count in moves.items() if before == "new") == 20
    assert max(b.teacher.keys.values()) == 1


async def test_a_finished_round_says_where_further_samples_go(tmp_path, pool, samples):
    async with bench(tmp_path / "run", pool) as b:
        await align(b)
        await align(b, samples)
    assert "audited in the next one" in b.output.getvalue()


async def test_stopped_anywhere_the_audit_goes_on_and_asks_nothing_twice(tmp_path, pool, samples):
    async with bench(tmp_path / "calm", pool, ScriptedTeacher(noise=0.2)) as calm:
        await align(calm, samples)
    asked = 0
    finished = {}

    def trouble(_):
        nonlocal asked
        asked += 1
        return Unavailable("gone") if asked > 120 else None

    teacher, student = ScriptedTeacher(noise=0.2, trouble=trouble), ScriptedStudent(trouble=trouble)
    async with bench(tmp_path / "run", pool, teacher, student, patience_s=0.05) as b:
        interruptions = 0
        while True:
            try:
                await align(b, samples)
                break
            except Unavailable:
                interruptions += 1
                asked = 0
                finished.update(
                    {key: teacher.keys[key] for key in in_ledger(b.folder) if key not in finished}
                )
    assert interruptions > 3
    assert rows(b.folder, AUDITED) == rows(calm.folder, AUDITED)
    assert b.parity_set() == calm.parity_set()
    assert {key: teacher.keys[key] for key in finished} == finished
    sampled = "SELECT count(*) FROM answers WHERE role = 'sample'"
    assert rows(b.folder, sampled) == rows(calm.folder, sampled) != [(0,)]


async def test_a_teacher_that_fails_a_few_is_asked_again_when_the_run_is_repeated(
    tmp_path, pool, samples
):
    async with bench(tmp_path / "calm", pool) as calm:
        await align(calm, samples)
    calls = Counter()

    def fails(kind, _):
        calls[kind] += 1
        if kind == "sample" and calls[kind] > 60:
            return Unavailable("gone")
        return (
            InvalidInput("I don't like this one")
            if kind != "annotate" and calls[kind] % 6 == 0
            else None
        )

    async with bench(tmp_path / "run", pool, ScriptedTeacher(fails=fails), patience_s=0.05) as b:
        with pytest.raises(Unavailable):
            await align(b, samples)
        failed = [rejection for _, _, _, _, rejection, _ in rows(b.folder, AUDITED)].count(
            "teacher_error"
        )
        b.teacher.fails = lambda *_: None
        await align(b, samples)
    assert failed > 5
    assert rows(b.folder, AUDITED) == rows(calm.folder, AUDITED)
    assert b.parity_set() == calm.parity_set()


async def test_one_device_at_a_time_audits_the_same(tmp_path, pool, samples):
    async with bench(tmp_path / "beside", pool, ScriptedTeacher(noise=0.2)) as beside:
        await align(beside, samples)
    async with bench(tmp_path / "run", pool, ScriptedTeacher(noise=0.2)) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            requests.set_folders(run, [samples])
            one = partial(
                in_turn.align,
                run,
                b.where,
                None,
                lambda _: True,
                progress,
                teacher_takes_turns=True,
            )
            await rounds.repeat(run, one)
    assert rows(b.folder, AUDITED) == rows(beside.folder, AUDITED)
    assert b.parity_set() == beside.parity_set()
