import asyncio

import pytest

from services.core.errors import MpaError
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
