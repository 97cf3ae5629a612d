"""Catalogues that follow their ledger, and are made again if they can't be used."""

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import MpaError
from services.core.parity import Cell
from services.core.reviews import checked_review
from services.engines.images import sha256
from services.orchestrator.run.ledger import AnnotationRow, ImageRow, Ledger
from services.orchestrator.run.ledger.browsing import count
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.ledger.review_book import writing_reviews
from services.orchestrator.run.run import read_run
from services.orchestrator.ui import rendering
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.overview import read_overview
from services.orchestrator.ui.upkeep import (
    CALIBRATION,
    COUNTED,
    EXPENSES,
    LONGEST_REST_S,
    Upkeep,
    catalogue_file,
    open_catalogue,
    renew_now,
)
from tests.orchestrator.ui.exhibits import TEACHER, make_run, serving, until_counted
from tests.pictures import numbered_png
from tests.waiting import until_true


def cells_of(client):
    return client.get("/runs/a/overview.json").json()["cells"]


def counted(client, run):
    """The overview when everything is counted, without the time of counting."""
    return {**until_counted(client, run), "renewed": None}


def rest_of(cells):
    return {cell: number for cell, number in cells.items() if cell not in ("gap", "known")}


def trouble_of(client, run):
    return client.get(f"/runs/{run}/overview.json").json()["renewed"]["trouble"]


def test_a_change_of_the_ledger_is_seen(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        before = until_counted(client, "a")["cells"]
        with closing(Ledger(run / "ledger.sqlite")) as ledger:
            ledger.add_image(ImageRow("later.png", "f" * 64, step=1))
            row = AnnotationRow("f" * 64, 0, 0, "reply", "is it late?", "yes", "", 1, TEACHER)
            ledger.add_annotation(row)
            until_true(lambda: cells_of(client) == {**before, "unidentified": 1})
            ledger.add_record("f" * 64, 0, Cell.NOISE_BOTH_WRONG, "exact@1", "exact@1")
            wanted = {**before, "noise_both_wrong": before.get("noise_both_wrong", 0) + 1}
            until_true(lambda: cells_of(client) == wanted)
        assert client.get("/runs/a/records.json?q=late").json()["found"] == 1


@pytest.mark.parametrize("fault", ["of another program", "damaged"])
def test_a_catalogue_that_can_t_be_used_is_made_again(tmp_path, fault):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        told = counted(client, "a")
    if fault == "damaged":
        for file in run.glob("explorer.sqlite*"):
            file.write_bytes(b"no database at all" * 100)
    else:
        with closing(sqlite3.connect(run / "explorer.sqlite")) as catalogue:
            catalogue.execute("UPDATE meta SET value = '0' WHERE key = 'schema'")
            catalogue.execute("UPDATE combinations SET entries = 7")
            catalogue.commit()
    with serving(tmp_path / "runs") as client:
        assert counted(client, "a") == told


@pytest.mark.parametrize("run_id", ["a", "b"])
def test_a_catalogue_of_another_ledger_with_the_same_counts_is_made_again(tmp_path, run_id):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        before = counted(client, "a")["cells"]
    backup = Path(shutil.copy(run / "ledger.sqlite", tmp_path / "backup.sqlite"))
    with closing(Ledger(backup)) as ledger:
        ledger.set_meta("id", run_id)
        ledger.write("UPDATE records SET cell = 'known' WHERE cell = 'gap'")
    backup.replace(run / "ledger.sqlite")
    with serving(tmp_path / "runs") as client:
        after = counted(client, "a")["cells"]
    assert after == {"known": before["known"] + before["gap"], **rest_of(before)}


def test_a_catalogue_that_is_deleted_is_made_again(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        told = counted(client, "a")
        for file in run.glob("explorer.sqlite*"):
            file.unlink()
        assert counted(client, "a") == told


def test_a_catalogue_that_can_t_be_opened_is_not_deleted(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    (run / "explorer.sqlite").symlink_to(tmp_path / "none" / "explorer.sqlite")
    with read_run(run) as opened, pytest.raises(MpaError, match="can't be used"):
        open_catalogue(opened)
    assert (run / "explorer.sqlite").is_symlink()


def test_a_second_explorer_finds_the_catalogue_made(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        told = until_counted(client, "a")
    with closing(sqlite3.connect(run / "explorer.sqlite")) as catalogue:
        catalogue.execute("UPDATE combinations SET entries = entries + 1 WHERE cell = 'gap'")
        catalogue.commit()
    with serving(tmp_path / "runs") as client:
        assert until_counted(client, "a")["cells"]["gap"] > told["cells"]["gap"]
        assert until_counted(client, "a")["expenses"] == told["expenses"]


def test_a_catalogue_that_is_older_than_the_ledger_is_said_to_be(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    upkeep = Upkeep()
    upkeep.start()
    until_true(lambda: upkeep.renew(run).is_complete)
    upkeep.close()
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow("late.png", "", "IMAGE_UNREADABLE", "late"))
        assert not upkeep.renew(run).is_complete


def test_a_fault_in_one_run_is_said_and_the_others_are_counted(tmp_path, caplog):
    odd = make_run(tmp_path / "runs" / "odd", tmp_path / "pool", images=4)
    with closing(sqlite3.connect(odd / "ledger.sqlite")) as ledger:
        ledger.execute("UPDATE annotations SET question = x'00ff' WHERE number = 0")
        ledger.commit()
    make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        trouble = []

        def is_told():
            trouble.append(trouble_of(client, "odd"))
            return trouble[-1]

        until_true(is_told)
        assert "TypeError" in trouble[-1]
        assert until_counted(client, "a")["records"]
    (told, *_) = (record for record in caplog.records if "odd" in record.getMessage())
    assert told.exc_info


def test_a_renewal_that_rests_says_as_of_when_and_never_rests_long(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    began, upkeep = time.time(), Upkeep(rest=1e9)
    upkeep.start()
    until_true(lambda: upkeep.renew(run).is_complete)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow("late.png", "", "IMAGE_UNREADABLE", "late"))
    resting = upkeep.renew(run)
    upkeep.close()
    assert not resting.is_complete
    assert 0 < resting.rests_s <= LONGEST_REST_S
    assert began - 1 < resting.as_of <= time.time()
    with read_run(run) as opened, closing(open_catalogue(opened)) as catalogue:
        view = read_overview(OpenedRun("a", opened, catalogue, resting))
    page = rendering.page("overview.html", {"view": view, "document": ""}).body.decode()
    assert f"as of {time.strftime('%H:%M', time.localtime(resting.as_of))}" in page
    assert "being counted" not in page


def test_a_change_between_two_explorers_is_seen(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        before = until_counted(client, "a")["refused"]
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow("late.png", "", "IMAGE_UNREADABLE", "late"))
    with serving(tmp_path / "runs") as client:
        after = until_counted(client, "a")["refused"]
    assert after == {"IMAGE_UNREADABLE": before["IMAGE_UNREADABLE"] + 1}


def test_a_review_counts_the_ledger_no_second_time(tmp_path):
    folder = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)

    def notes():
        with read_run(folder) as run, closing(open_catalogue(run)) as catalogue:
            return {name: catalogue.note(name) for name in (EXPENSES, CALIBRATION, COUNTED)}

    renew_now(folder, lambda *_: None)
    assert all(notes().values())
    with read_run(folder) as run, closing(Catalogue(catalogue_file(run))) as catalogue:
        catalogue.set_note(EXPENSES, "as it was")
        catalogue.set_note(CALIBRATION, "as it was")
    with writing_reviews(folder) as book:
        book.add(0, ("f" * 64, "q?", "a"), checked_review("ann", "accept"))
    renew_now(folder, lambda *_: None)
    assert notes()[EXPENSES] == notes()[CALIBRATION] == "as it was"
    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow("late.png", "", "IMAGE_UNREADABLE", "late"))
    renew_now(folder, lambda *_: None)
    assert "as it was" not in notes().values()


def test_a_run_that_can_t_be_written_has_its_catalogue_in_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with read_run(run) as opened:
        assert catalogue_file(opened) == run / "explorer.sqlite"
        away = replace(opened, folder=tmp_path / "not to be written")
        assert catalogue_file(away).parent == tmp_path / "cache" / "mpa" / "explorer"
        with closing(open_catalogue(away)) as catalogue:
            assert count(catalogue).entries == 0


def test_the_writer_of_the_ledger_never_waits(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client, closing(Ledger(run / "ledger.sqlite")) as ledger:
        until_counted(client, "a")
        with ledger.at_once():
            ledger.set_step(sha256(numbered_png(0)), 2)
            assert client.get("/runs/a/records").status_code == 200
        ledger.write("PRAGMA wal_checkpoint(TRUNCATE)")
        assert client.get("/runs/a/records").status_code == 200


def test_no_log_of_a_catalogue_stays_when_the_explorer_ends(tmp_path):
    """A reader that closes last can't remove it."""
    folder = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        until_counted(client, "a")
        with read_run(folder) as run, closing(open_catalogue(run)) as reader:
            assert reader.marks()
            with closing(Ledger(folder / "ledger.sqlite")) as ledger:
                ledger.set_meta("any", "change")
            until_true(lambda: (folder / "explorer.sqlite-wal").exists())
            until_counted(client, "a")
        assert (folder / "explorer.sqlite-wal").exists()
    assert (folder / "explorer.sqlite").exists()
    assert not list(folder.glob("explorer.sqlite-*"))
