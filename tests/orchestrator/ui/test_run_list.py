"""The list of runs."""

import fcntl
import html
import json
import os
import shutil
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.annotation import Rejection
from services.core.errors import InvalidInput
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.schema import LEAK
from services.orchestrator.run.listing import list_runs
from services.orchestrator.run.run import read_run
from services.orchestrator.ui.application import explorer
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted


def test_a_line_says_what_the_run_s_page_says(client):
    (line,) = client.get("/runs.json").json()["runs"]
    overview = client.get("/runs/a/overview.json").json()
    for name in ("state", "outcome", "sentence", "records", "gap_rate", "round"):
        assert line[name] == overview[name]
    assert {cell: n for cell, n in overview["cells"].items() if n} == line["cells"]
    page = html.unescape(client.get("/runs").text)
    assert f"{line['gap_rate']:.1%}" in page
    assert line["sentence"] in page


def test_a_record_that_samples_contradict_is_in_no_cell(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=10)
    ledger = Ledger(run / "ledger.sqlite")
    record = next(iter(ledger.records()))
    (row,) = (r for r in ledger.annotations(record.image_sha256) if r.number == 0)
    ledger.reject(row, Rejection.LOW_AGREEMENT)
    ledger.close()
    with serving(tmp_path / "runs") as client:
        counted = until_counted(client, "a")
        (line,) = client.get("/runs.json").json()["runs"]
    assert line["cells"] == counted["cells"]
    assert counted["rejected"]["low_agreement"] == 1


def test_a_record_that_was_asked_again_counts_and_one_of_a_late_leak_does_not(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=10)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        again, contradicted, leaked, *_ = {r.image_sha256: r for r in ledger.records()}.values()
        for record in (again, contradicted, leaked):
            row = ledger.annotations(record.image_sha256)[0]
            ledger.reject(row, Rejection.LOW_AGREEMENT)
            if record is again:
                ledger.add_annotation(replace(row, attempt=2))
            if record is leaked:
                ledger.reject_image(record.path, LEAK, "in the set")
    with serving(tmp_path / "runs") as client:
        counted = until_counted(client, "a")
        (line,) = client.get("/runs.json").json()["runs"]
    with read_run(run) as opened:
        assert line["records"] == len(list(opened.ledger.records()))
    assert line["cells"] == {cell: counted["cells"].get(cell, 0) for cell in line["cells"]}
    assert line["records"] == counted["records"]


def test_a_run_at_work_is_said_to_be(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    with serving(tmp_path / "runs") as client, (run / ".lock").open("w") as lock:
        assert client.get("/runs.json").json()["runs"][0]["state"] == "not_promoted"
        lock.write(str(os.getpid()))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert client.get("/runs.json").json()["runs"][0]["state"] == "at_work"


@pytest.mark.parametrize("part", ["recipe", "outcome", "settings"])
def test_a_run_of_a_later_program_is_listed_as_unreadable(tmp_path, part):
    make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    run = make_run(tmp_path / "runs" / "later", tmp_path / "pool", images=2)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        stored = json.loads(ledger.meta("settings"))
        if part == "outcome":
            ledger.set_meta("outcome", "celebrated")
        else:
            (stored["recipe"] if part == "recipe" else stored)["novelty"] = 1
            ledger.set_meta("settings", json.dumps(stored))
    with serving(tmp_path / "runs") as client:
        lines = {line["name"]: line for line in client.get("/runs.json").json()["runs"]}
        assert lines["a"]["state"] == "not_promoted"
        assert lines["later"]["state"] == "unreadable"
        assert "later program" in lines["later"]["sentence"]
        assert client.get("/runs/later/overview").status_code == 409
    (told,) = (line for line in list_runs(tmp_path / "runs") if line.run.endswith("later"))
    assert told.state == "unreadable"


def test_a_run_that_is_being_deleted_is_not_listed(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    shutil.move(run, run.with_name(".a.deleted"))
    with serving(tmp_path / "runs") as client:
        assert client.get("/runs.json").json()["runs"] == []
        assert client.get("/runs/.a.deleted/overview").status_code == 404


def test_a_run_is_no_folder_of_runs(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    with pytest.raises(InvalidInput, match="give the folder that it is in"):
        explorer(run, is_loopback=True)


def test_a_folder_whose_name_is_no_text_is_left_out(tmp_path):
    make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "runs" / os.fsdecode(b"b\xff"))
    with serving(tmp_path / "runs") as client:
        assert [line["name"] for line in client.get("/runs.json").json()["runs"]] == ["a"]
        assert client.get("/runs").status_code == 200
