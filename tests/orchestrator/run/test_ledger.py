import asyncio
import hashlib
import re
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.agreement import Agreement
from services.core.annotation import Rejection
from services.core.errors import MpaError, WrongState
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.ledger.counts import LAST_ATTEMPTS, LOW_GAP, MOVES
from services.orchestrator.run.ledger.opinions import BY_CELL, OUTVOTED, OpinionKind, add_opinion
from services.orchestrator.run.ledger.schema import IMAGES_ON_A_SHELF
from services.orchestrator.run.ledger.selections import AUDITED_GAP, GAP
from services.orchestrator.run.opinions import measured_noise
from tests.waiting import until

ROW = AnnotationRow("aa", 0, 0, "as written", "what is it?", "red", "", 7, "teacher-a")


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def fill(ledger: Ledger) -> None:
    ledger.add_image(ImageRow("a.png", "aa"))
    ledger.add_image(ImageRow("b.png", "aa", "duplicate"))
    ledger.add_annotation(ROW)
    ledger.add_answer(AnswerRow("aa", "what is it?", "student", "v1", "blue", "c0ffee", "identify"))
    ledger.add_record("aa", 0, Cell.GAP, "exact@1")
    ledger.set_step("aa", 2)


def test_writing_twice_is_writing_once(ledger, tmp_path):
    fill(ledger)
    fill(ledger)
    assert [(record.path, record.cell) for record in ledger.records()] == [("a.png", Cell.GAP)]
    assert ledger.annotations("aa") == [ROW]
    assert ledger.answer("aa", "what is it?", "student", "v1").answer == "blue"
    assert ledger.answer("aa", "what is it?", "student", "v2") is None


def test_an_answer_once_given_is_never_replaced(ledger):
    fill(ledger)
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "student", "v1", "green", "c0ffee", "evaluate")
    )
    assert ledger.answer("aa", "what is it?", "student", "v1").answer == "blue"


def test_what_is_written_is_there_for_a_reader_at_once_and_after_a_crash(ledger, tmp_path):
    fill(ledger)  # and no close
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert [record.question for record in reader.records()] == ["what is it?"]
    with pytest.raises(MpaError):
        reader.set_meta("key", "value")
    reader.close()


def test_a_failed_call_leaves_its_image_unfinished(ledger):
    fill(ledger)
    ledger.add_image(ImageRow("a.png", "aa"))
    ledger.reject(ROW, Rejection.STUDENT_ERROR, "why")
    ledger.set_step("aa", 2)
    assert ledger.image("a.png").step == 0
    assert ledger.failures() == (1, 1, "why")
    assert list(ledger.records()) == []


def test_rows_lie_by_when_their_image_came(ledger, tmp_path):
    count, last = 2 * IMAGES_ON_A_SHELF + 3, 2 * IMAGES_ON_A_SHELF + 2
    shas = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    with ledger.at_once():
        for number, sha256 in enumerate(shas):
            ledger.add_image(ImageRow(f"{number:05}.png", sha256))
            ledger.add_annotation(replace(ROW, image_sha256=sha256))
            ledger.add_answer(
                AnswerRow(sha256, "what is it?", "student", "v1", "blue", "c0ffee", "identify")
            )
            ledger.add_record(sha256, 0, Cell.GAP, "exact@1")
    ledger.add_image(ImageRow("again.png", shas[0], "duplicate"))
    ledger.add_image(ImageRow("00000.png", shas[0], "unreadable"))
    assert ledger.shelf("b" * 64) == 0, "not the run's"
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    for held in (ledger, reader):
        assert [
            held.shelf(shas[number])
            for number in (0, IMAGES_ON_A_SHELF - 1, IMAGES_ON_A_SHELF, last)
        ] == [0, 0, 1, 2]
        assert held.annotations(shas[last]) == [replace(ROW, image_sha256=shas[last])]
        assert held.answer(shas[last], "what is it?", "student", "v1").answer == "blue"
        assert held.cell(shas[last], 0) == "gap"
    in_order = [
        (number // IMAGES_ON_A_SHELF, sha256) for number, sha256 in enumerate(shas) if number
    ]
    assert [record.image_sha256 for record in reader.records()] == [
        sha256 for _, sha256 in sorted(in_order)
    ]
    reader.close()


@pytest.mark.parametrize(
    "statement", [MOVES, LAST_ATTEMPTS, BY_CELL, OUTVOTED, AUDITED_GAP, LOW_GAP, GAP]
)
def test_what_else_is_known_of_an_image_is_found_by_its_shelf(ledger, statement):
    plan = [
        step
        for *_, step in ledger.read(f"EXPLAIN QUERY PLAN {statement}", *[0] * statement.count("?"))
    ]
    named = re.compile(r"(?:SCAN|SEARCH) (?:a|b|r|redone|earlier|annotations|records)\b")
    _, *others = [step for step in plan if named.match(step)]
    assert others
    assert all("(shelf=? AND image_sha256=?" in step for step in others), plan


def test_a_stage_that_breaks_off_leaves_none_of_its_scores(ledger):
    with pytest.raises(RuntimeError), ledger.at_once():
        ledger.add_score("held_out", "aa", "what is it?", "before", "v1", "what is", 1.0)
        raise RuntimeError
    assert list(ledger.read("SELECT * FROM scores")) == []


async def test_a_batch_is_committed_in_a_moment_and_at_its_end(ledger, tmp_path):
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    with ledger.in_batches():
        fill(ledger)
        assert ledger.annotations("aa") == [ROW]
        assert list(reader.records()) == []
        await until(lambda: list(reader.records()))
        ledger.set_meta("key", "value")
        assert (ledger.meta("key"), reader.meta("key")) == ("value", "")
    assert reader.meta("key") == "value"
    reader.close()


async def test_a_disk_that_fills_up_leaves_whole_batches_in_their_order(ledger, tmp_path):
    ledger.write("PRAGMA max_page_count=40")
    written = 0
    with pytest.raises(MpaError, match="is full"), ledger.in_batches():
        for number in range(1000):
            ledger.add_image(ImageRow(f"{number:04}.png", f"{number:04}" * 16))
            written = number
            if number % 50 == 49:
                await asyncio.sleep(0.02)
    with pytest.raises(MpaError, match="is full"):
        ledger.add_image(ImageRow("late.png", "late"))
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    paths = [path for (path,) in reader.read("SELECT path FROM images ORDER BY path")]
    assert paths == [f"{number:04}.png" for number in range(len(paths))]
    assert 50 <= len(paths) <= written
    reader.close()


def test_cells_are_counted(ledger):
    fill(ledger)
    assert ledger.cell_counts() == {Cell.GAP: 1}


def test_a_file_that_is_no_ledger_is_told(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(MpaError, match="damaged"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_ledger_of_another_program_version_is_told(ledger, tmp_path):
    ledger.set_meta("schema", "99")
    for read_only in (False, True):
        with pytest.raises(WrongState, match=r"schema 99.*update the program"):
            Ledger(tmp_path / "ledger.sqlite", read_only=read_only)


PROVENANCE = Provenance(FinishReason.LENGTH, Usage(1200, 30, 400, 0.0125), "fp_1")


def test_how_a_reply_came_about_is_kept_and_added_up_by_role(ledger):
    ledger.add_annotation(replace(ROW, provenance=PROVENANCE))
    for version in ("v1", "v2"):
        ledger.add_answer(
            AnswerRow(
                "aa", "what is it?", "student", version, "red", "c0ffee", "identify", PROVENANCE
            )
        )
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "teacher", "t", "red", "c0ffee", "identify", PROVENANCE)
    )
    assert ledger.annotations("aa")[0].provenance == PROVENANCE
    assert ledger.answer("aa", "what is it?", "teacher", "t").provenance == PROVENANCE
    assert ledger.usage() == dict.fromkeys(
        ("teacher", "student"), PROVENANCE.usage + PROVENANCE.usage
    )


SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', '1');
CREATE TABLE annotations (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL,
    text TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL, rejection TEXT NOT NULL, seed INTEGER NOT NULL,
    model_fingerprint TEXT NOT NULL,
    detail TEXT NOT NULL, PRIMARY KEY (image_sha256, number, attempt)) WITHOUT ROWID;
INSERT INTO annotations VALUES
('aa', 0, 0, 'as written', 'what is it?', 'red', '', 7, 'teacher-a', '');
CREATE TABLE images (
    path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, rejection TEXT NOT NULL, detail TEXT NOT NULL,
    held_out INTEGER NOT NULL, step INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO images VALUES ('a.png', 'aa', '', '', 0, 2);
CREATE TABLE records (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, cell TEXT NOT NULL, matcher TEXT NOT NULL,
    PRIMARY KEY (image_sha256, number)) WITHOUT ROWID;
INSERT INTO records VALUES ('aa', 0, 'gap', 'exact@1');
CREATE TABLE answers (
    image_sha256 TEXT NOT NULL, question TEXT NOT NULL, role TEXT NOT NULL,
    version TEXT NOT NULL, answer TEXT NOT NULL, conditions TEXT NOT NULL,
    step TEXT NOT NULL, PRIMARY KEY (image_sha256, question, role, version)) WITHOUT ROWID;
INSERT INTO answers VALUES ('aa', 'what is it?', 'student', 'v1', 'blue', 'c0ffee', 'identify');
"""


INDICES = """
CREATE UNIQUE INDEX accepted_images ON images (sha256) WHERE rejection = '';
CREATE INDEX records_by_cell ON records (cell);
CREATE INDEX rejected_annotations ON annotations (rejection) WHERE rejection != '';
CREATE INDEX rejected_images ON images (rejection) WHERE rejection != '';
CREATE INDEX questions ON annotations (image_sha256, number, attempt, question);
"""


@pytest.mark.parametrize("indices", ["", INDICES], ids=["no-indices", "indices"])
def test_a_ledger_of_schema_1_is_taken_up(tmp_path, indices):
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(SCHEMA_1 + indices)
    reader = Ledger(path, read_only=True)
    assert measured_noise(reader) is None
    assert reader.usage() == {}
    assert [(record.path, record.cell) for record in reader.records()] == [("a.png", Cell.GAP)]
    assert reader.annotations("aa") == [ROW]
    assert list(reader.read("SELECT round, matcher, student_matcher FROM records")) == [
        (1, "exact@1", "")
    ]
    reader.close()
    for _ in range(2):  # the second time there is nothing to do
        taken_up = Ledger(path)
        assert taken_up.annotations("aa") == [ROW]
        assert taken_up.answer("aa", "what is it?", "student", "v1").answer == "blue"
        assert taken_up.usage() == {"teacher": Usage(), "student": Usage()}
        assert [(record.path, record.cell) for record in taken_up.records()] == [
            ("a.png", Cell.GAP)
        ]
        assert taken_up.cell("aa", 0) == "gap"
        assert taken_up.meta("schema") == "4"
        fresh = Ledger(tmp_path / "fresh.sqlite")
        columns = (
            "SELECT m.name, c.name, c.pk FROM sqlite_master m "
            "JOIN pragma_table_info(m.name) c ORDER BY 1, 2"
        )
        assert list(taken_up.read(columns)) == list(fresh.read(columns))
        fresh.close()
        taken_up.close()


def test_each_round_has_records_and_steps_of_its_own(ledger, tmp_path):
    fill(ledger)
    ledger.begin_round(2)
    assert (ledger.cell("aa", 0), ledger.image("a.png").step, list(ledger.records())) == ("", 0, [])
    ledger.add_record("aa", 0, Cell.UNASKED, "exact@1")
    ledger.set_step("aa", 1)
    assert ledger.image("a.png").step == 1
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert reader.round == 2
    assert [record.cell for record in reader.records()] == [Cell.UNASKED]
    assert list(reader.read("SELECT cell FROM records ORDER BY round")) == [("gap",), ("unasked",)]
    reader.close()


def test_what_came_from_the_cache_is_on_no_bill(ledger):
    ledger.add_annotation(replace(ROW, provenance=PROVENANCE))
    cached = replace(PROVENANCE, is_cached=True)
    ledger.add_annotation(replace(ROW, number=1, provenance=cached))
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "teacher", "t", "red", "c0ffee", "identify", cached)
    )
    assert ledger.annotations("aa")[1].provenance == cached
    assert ledger.usage() == {"teacher": PROVENANCE.usage}


def test_a_label_that_a_later_round_wrote_again_counts_once(ledger):
    fill(ledger)
    ledger.reject(ROW, Rejection.LOW_AGREEMENT)
    ledger.add_annotation(replace(ROW, attempt=2, rejection="low_agreement"))
    label = ("aa", ROW.question, ROW.answer)
    add_opinion(ledger, label, 0, OpinionKind.SAMPLE, Agreement(1, 4))
    add_opinion(ledger, label, 0, OpinionKind.VOTE, Agreement(1, 1))
    found = measured_noise(ledger)
    assert found.agreement == {"1/4": 1}
    assert (found.noise.of, found.outvoted.of) == (1, 1)
