"""Held-out records that judge a candidate: those that a model confirmed, never noise."""

from collections import Counter

from protos.mpa.v1 import teacher_pb2
from services.core.parity import NOISE, Cell
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedTeacher, draw
from tests.orchestrator.scripted_service import in_bulk

HELD_OUT = """
SELECT r.image_sha256, a.question, r.cell FROM records r
JOIN annotations a ON a.image_sha256 = r.image_sha256 AND a.number = r.number AND a.rejection = ''
JOIN images i ON i.sha256 = r.image_sha256 WHERE i.held_out
"""
JUDGED = "SELECT DISTINCT image_sha256, question FROM scores WHERE question_set = 'held_out'"
OF_V2 = "SELECT DISTINCT image_sha256, question FROM answers WHERE version = 'v2'"


class Forgetful(ScriptedTeacher):
    """Asked blind, it contradicts some of its own annotations."""

    async def Answer(self, request, context):
        response = await super().Answer(request, context)
        if draw("forgets", request.question) < 0.3:
            response.answer = "unknown"
        return response

    AnswerStream = in_bulk(Answer, teacher_pb2.TeacherServiceAnswerStreamResponse)


async def test_noise_never_judges(tmp_path, pool):
    """The teacher is asked about every record, so that each cell has held-out ones."""
    async with bench(tmp_path / "run", pool, Forgetful(), full_matrix=True) as b:
        summary = await b.align()
    held_out = {(image, question): Cell(cell) for image, question, cell in rows(b.folder, HELD_OUT)}
    found = Counter(held_out.values())
    assert all(found[cell] for cell in (Cell.GAP, Cell.KNOWN, *NOISE)), found
    confirmed = {record for record, cell in held_out.items() if cell in (Cell.GAP, Cell.KNOWN)}
    assert set(rows(b.folder, JUDGED)) == confirmed
    assert set(rows(b.folder, OF_V2)) == confirmed, "nor is the candidate asked about it"
    assert summary.held_out.questions == len(confirmed)


async def test_what_the_student_knew_judges_though_the_teacher_was_not_asked(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        await b.align()
    held_out = {(image, question): Cell(cell) for image, question, cell in rows(b.folder, HELD_OUT)}
    assert {record for record, cell in held_out.items() if cell in (Cell.GAP, Cell.UNASKED)} == set(
        rows(b.folder, JUDGED)
    )
    assert Cell.UNASKED in held_out.values()
