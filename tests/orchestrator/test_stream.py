"""Annotation and identification against scripted services: calls, records and rejections."""

import io
import json
from collections import Counter

import pytest
from rich.console import Console

from protos.mpa.v1 import types_pb2
from services.core.errors import NothingToAlign
from services.orchestrator.reports.summary import show
from tests.orchestrator.conftest import bench, rows, with_recipe
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher, answer, draw
from tests.pictures import bomb_png, png


async def test_the_student_first_saves_teacher_calls_and_finds_the_same_gap(tmp_path, pool):
    async with bench(tmp_path / "first", pool) as first:
        student_first = await first.align()
    async with bench(tmp_path / "full", pool, full_matrix=True) as full:
        both = await full.align()
    known = both.cells["known"] + both.cells["noise_student_right"]
    assert student_first.cells["gap"] == both.cells["gap"] > 16
    assert student_first.cells["unasked"] == known > 16
    assert student_first.teacher_calls == both.teacher_calls - known
    gap = [
        [line for line in map(json.loads, b.parity_set().splitlines()) if line["cell"] == "gap"]
        for b in (first, full)
    ]
    assert gap[0] == gap[1]


async def test_the_papers_parity_set_is_the_same_to_the_record_for_fewer_teacher_calls(
    tmp_path, pool
):
    async with bench(tmp_path / "first", pool, recipe="paper") as first:
        await first.align()
    async with bench(tmp_path / "full", pool, recipe="paper", full_matrix=True) as full:
        await full.align()
    assert first.parity_set() == full.parity_set()
    assert (full.teacher.calls["answer"], first.teacher.calls["annotate"]) == (120, 120)
    assert first.teacher.calls["answer"] == sum(
        answer(0.4, sha256, question) == "unknown"
        for kind, sha256, question in full.teacher.keys
        if kind == "answer"
    )


async def test_one_bad_image_never_stops_a_run_and_a_copy_is_counted_once(tmp_path, pool):
    bad = {
        "zero.png": b"",
        "text.png": b"text",
        "bomb.png": bomb_png(),
        "cut.png": png(size=(300, 300))[:-200],
    }
    for name, content in bad.items():
        (pool / name).write_bytes(content)
    (pool / "zz_copy.png").write_bytes((pool / "000.png").read_bytes())
    (pool / "outside.png").symlink_to("/etc/hostname")
    (pool / "labels.json").write_text("[]")
    async with bench(tmp_path / "run", pool) as b:
        summary = await b.align()
    assert summary.images == 120
    assert summary.image_files.refused == {
        "IMAGE_EMPTY": 1,
        "IMAGE_UNREADABLE": 1,
        "IMAGE_TOO_MANY_PIXELS": 1,
        "IMAGE_TRUNCATED": 1,
        "IMAGE_OUTSIDE_ROOT": 1,
        "duplicate": 1,
    }
    assert rows(tmp_path / "run", "SELECT path FROM images WHERE rejection = 'duplicate'") == [
        ("zz_copy.png",)
    ]
    assert "labels.json" in b.output.getvalue()
    assert sum(b.teacher.sent.values()) >= 120


async def test_what_cannot_be_parsed_is_asked_once_more_and_then_rejected_with_its_reason(
    tmp_path, pool
):
    first_seeds: dict[str, int] = {}

    def rejects(sha256, seed):
        kind = int(sha256[:2], 16) % 8
        if kind == 0:
            return "no_question"
        if kind == 1:  # only the first reply
            return "no_answer" if first_seeds.setdefault(sha256, seed) == seed else ""
        return "answer_too_long" if kind == 2 else ""

    async with bench(tmp_path / "run", pool, ScriptedTeacher(rejects=rejects), recipe="paper") as b:
        summary = await b.align()
    kinds = Counter(
        int(sha256[:2], 16) % 8 for (sha256,) in rows(tmp_path / "run", "SELECT sha256 FROM images")
    )
    assert summary.rejected == {"no_question": kinds[0], "answer_too_long": kinds[2]}
    assert summary.annotations == 120 - kinds[0] - kinds[2]
    assert summary.retried == kinds[0] + kinds[1]
    assert b.teacher.calls["annotate"] == 120 + summary.retried
    assert max(b.teacher.keys.values()) == 1


async def test_the_same_question_twice_about_one_image_is_rejected_as_duplicate(tmp_path, pool):
    teacher = ScriptedTeacher(question=lambda *_: "what color is it?")
    async with bench(tmp_path / "run", pool, teacher) as b:
        summary = await b.align()
    assert summary.annotations == 120
    assert summary.rejected == {"duplicate": 120}
    assert max(count for key, count in b.student.keys.items() if key[-1]) == 1


async def test_an_image_is_sent_once_and_again_when_the_service_forgot_it(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="paper") as b:
        await b.align()
    assert set(b.teacher.sent.values()) == {1}
    async with bench(
        tmp_path / "forgetful", pool, ScriptedTeacher(forgets=True), recipe="paper"
    ) as forgetful:
        await forgetful.align()
    assert forgetful.parity_set() == b.parity_set()
    assert max(forgetful.teacher.sent.values()) > 1


async def test_all_stages_are_busy_at_once(tmp_path, pool):
    student = ScriptedStudent(delay_s=0.01)
    teacher = ScriptedTeacher(
        delay_s=0.01, trouble=lambda kind: busy.add((kind, student._at_once > 0))
    )
    busy: set[tuple[str, bool]] = set()
    async with bench(tmp_path / "run", pool, teacher, student) as b:
        await b.align()
    assert {("annotate", True), ("answer", True)} <= busy


@pytest.mark.parametrize(
    ("skill", "said"),
    [
        (
            0.3,
            r"10 images are too few .*\(the gap is \d+ of \d+ questions, \d+%\): "
            r"align about \d\d images",
        ),
        (1.0, r"10 images are too few .*\(the gap is 0 of \d+ questions, 0%\): align more images"),
    ],
)
async def test_a_few_images_are_not_called_parity(tmp_path, pool, skill, said):
    student = ScriptedStudent(skills={"v1": skill})
    async with bench(tmp_path / "run", pool, student=student, limit=10, recipe="paper") as b:
        with pytest.raises(NothingToAlign, match=said):
            await b.align()


async def test_a_student_at_parity_is_not_trained(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(skills={"v1": 0.99})) as b:
        with pytest.raises(NothingToAlign, match="at parity"):
            await b.align()
        calls = b.teacher.calls.total() + b.student.calls.total()
        with pytest.raises(NothingToAlign):
            await b.align()
        assert b.teacher.calls.total() + b.student.calls.total() == calls
        assert b.student.trainings == []
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["outcome"] == "nothing_to_align"
    assert summary["version"] == {"before": "v1", "after": ""}


async def test_an_empty_parity_set_is_told_with_its_cause(tmp_path, pool):
    async with bench(
        tmp_path / "noise", pool, ScriptedTeacher(skill=0.0), ScriptedStudent(skills={"v1": 0.1})
    ) as b:
        with pytest.raises(
            NothingToAlign,
            match=r"only 0 samples.*the teacher contradicts \d+ of its \d+ annotations",
        ):
            await b.align()
        assert b.parity_set() == ""
    async with bench(
        tmp_path / "nothing", pool, ScriptedTeacher(rejects=lambda *_: "no_answer")
    ) as b:
        b.settings = with_recipe(b.settings, minimum_gap=0)
        with pytest.raises(NothingToAlign, match="not one annotation is usable"):
            await b.align()
        assert b.student.trainings == []


async def test_held_out_images_are_never_trained_on(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.5)
        await b.align()
    held_out = {
        sha256 for (sha256,) in rows(tmp_path / "run", "SELECT sha256 FROM images WHERE held_out")
    }
    assert 30 < len(held_out) < 90
    assert held_out.isdisjoint(sample.image_sha256 for sample in b.student.samples)


async def test_what_the_teacher_declines_or_leaves_unfinished_is_never_compared(tmp_path, pool):
    reasons = {
        0: types_pb2.FINISH_REASON_REFUSAL,
        1: types_pb2.FINISH_REASON_CONTENT_FILTER,
        2: types_pb2.FINISH_REASON_LENGTH,
    }

    def finishes(question):
        return reasons.get(int(draw("finish", question) * 6), types_pb2.FINISH_REASON_STOP)

    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    teacher = ScriptedTeacher(finishes=finishes)
    async with bench(tmp_path / "run", pool, teacher) as b:
        summary = await b.align()
    asked = [question for kind, _, question in teacher.keys if kind == "answer"]
    expected = Counter(finishes(question) for question in asked)
    assert summary.rejected == {
        "refusal": expected[types_pb2.FINISH_REASON_REFUSAL],
        "content_filter": expected[types_pb2.FINISH_REASON_CONTENT_FILTER],
        "cut_off": expected[types_pb2.FINISH_REASON_LENGTH],
    }
    assert 0 < summary.cells["gap"] < whole.cells["gap"]
    assert summary.cells["unasked"] == whole.cells["unasked"]
    assert max(teacher.keys.values()) == 1
    details = rows(tmp_path / "run", "SELECT detail FROM annotations WHERE rejection = 'refusal'")
    assert all(detail.startswith("the teacher's answer: ") for (detail,) in details)


async def test_tokens_and_dollars_are_kept_with_every_call_and_summed_up(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        summary = await b.align()
    calls = summary.teacher_calls + summary.evaluation_calls["teacher"]
    teacher = summary.usage["teacher"]
    assert (teacher.prompt_tokens, teacher.completion_tokens) == (100 * calls, 10 * calls)
    assert teacher.cached_prompt_tokens == 40 * calls
    assert teacher.cost_usd == pytest.approx(0.001 * calls)
    assert set(rows(tmp_path / "run", "SELECT system_fingerprint FROM annotations")) == {("fp_1",)}
    assert set(
        rows(tmp_path / "run", "SELECT system_fingerprint FROM answers WHERE role = 'teacher'")
    ) == {("fp_2",)}
    shown = io.StringIO()
    show(summary, Console(file=shown, width=200))
    assert (
        f"teacher {100 * calls:,} in ({40 * calls:,} cached) and {10 * calls:,} out"
        in shown.getvalue()
    )
    assert f"cost         ${0.001 * calls:.4f}" in shown.getvalue()
