import sqlite3
from contextlib import closing

import pytest

from services.core.errors import WrongState
from services.core.parity import Cell
from services.core.usage import Usage
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.opinions import measured_noise
from tests.orchestrator.run.ledger.filled import ROW

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
        assert taken_up.meta("schema") == "5"
        fresh = Ledger(tmp_path / "fresh.sqlite")
        columns = (
            "SELECT m.name, c.name, c.pk FROM sqlite_master m "
            "JOIN pragma_table_info(m.name) c ORDER BY 1, 2"
        )
        assert list(taken_up.read(columns)) == list(fresh.read(columns))
        fresh.close()
        taken_up.close()


def test_a_ledger_of_another_program_version_is_told(ledger, tmp_path):
    ledger.set_meta("schema", "99")
    for read_only in (False, True):
        with pytest.raises(WrongState, match=r"schema 99.*update the program"):
            Ledger(tmp_path / "ledger.sqlite", read_only=read_only)


def test_a_ledger_that_is_being_created_is_read_as_an_empty_one(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with closing(Ledger(path, read_only=True)) as reader:
        assert (reader.round, reader.meta("settings"), list(reader.records())) == (1, "", [])
    assert path.read_bytes() == b""
