import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.errors import MpaError
from services.core.parity import Cell
from services.orchestrator.run.ledger import ImageRow, Ledger
from tests.orchestrator.run.ledger.filled import ROW, fill
from tests.waiting import until


def test_what_is_written_is_there_for_a_reader_at_once_and_after_a_crash(ledger, tmp_path):
    fill(ledger)  # and no close
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert [record.question for record in reader.records()] == ["what is it?"]
    with pytest.raises(MpaError):
        reader.set_meta("key", "value")
    reader.close()


def test_a_stage_that_breaks_off_leaves_none_of_its_scores(ledger):
    with pytest.raises(RuntimeError), ledger.at_once():
        ledger.add_score("held_out", "aa", "what is it?", "before", "v1", "what is", 1.0)
        raise RuntimeError
    assert list(ledger.read("SELECT * FROM scores")) == []


def test_a_disk_that_fills_up_in_one_transaction_is_told_and_leaves_none_of_it(ledger):
    ledger.write("PRAGMA cache_size=10")
    ledger.write("PRAGMA max_page_count=60")
    with pytest.raises(MpaError, match="is full"), ledger.at_once():
        for number in range(5000):
            ledger.add_image(ImageRow(f"{number:04}.png", f"{number:04}" * 16))
    assert list(ledger.read("SELECT path FROM images")) == []
    with ledger.at_once():
        ledger.set_meta("key", "value")
    assert ledger.meta("key") == "value"


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


def test_a_file_that_is_no_ledger_is_told(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(MpaError, match="damaged"):
        Ledger(tmp_path / "ledger.sqlite")


def test_an_intact_ledger_with_rows_is_intact(ledger):
    fill(ledger)
    ledger.require_intact()


def test_a_null_that_no_program_wrote_is_damage(ledger, tmp_path):
    fill(ledger)
    ledger.close()
    names = ("answer TEXT NOT NULL", "answer TEXT")
    for old, new in (names, names[::-1]):
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as damaged:
            damaged.execute("PRAGMA writable_schema=ON")
            damaged.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?)", (old, new))
            damaged.commit()
        if new == "answer TEXT":
            with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as damaged:
                damaged.execute("UPDATE annotations SET answer = NULL")
                damaged.commit()
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    with closing(reader), pytest.raises(MpaError, match=r"NULL value in annotations\.answer"):
        reader.require_intact()


def test_a_key_that_has_changed_is_damage_however_many_rows_are_intact(ledger, tmp_path):
    with ledger.at_once():
        for number in range(200):
            ledger.add_record(f"{number:04}" * 16, 0, Cell.GAP, "exact@1")
        ledger.add_annotation(replace(ROW, image_sha256="key" * 20))
    ledger.close()
    path = tmp_path / "ledger.sqlite"
    whole = path.read_bytes()
    at = whole.index(b"key" * 20)
    path.write_bytes(whole[:at] + b"x" * 60 + whole[at + 60 :])
    with closing(Ledger(path, read_only=True)) as reader, pytest.raises(MpaError, match="damaged"):
        reader.require_intact()


def test_a_page_of_zeros_is_damage(ledger, tmp_path):
    with ledger.at_once():
        for number in range(500):
            ledger.add_image(ImageRow(f"{number:04}.png", f"{number:04}" * 16))
            ledger.add_record(f"{number:04}" * 16, 0, Cell.GAP, "exact@1")
    (root,) = next(ledger.read("SELECT rootpage FROM sqlite_master WHERE name = 'images'"))
    (size,) = next(ledger.read("PRAGMA page_size"))
    ledger.close()
    path, start = tmp_path / "ledger.sqlite", (root - 1) * size
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + bytes(size) + whole[start + size :])
    with closing(Ledger(path, read_only=True)) as reader, pytest.raises(MpaError, match="damaged"):
        reader.require_intact()
