"""The list of runs."""

import fcntl
import html
import os
import shutil

import pytest

from services.core.annotation import Rejection
from services.core.errors import InvalidInput
from services.orchestrator.run.ledger import Ledger
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


def test_a_run_at_work_is_said_to_be(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    with serving(tmp_path / "runs") as client, (run / ".lock").open("w") as lock:
        assert client.get("/runs.json").json()["runs"][0]["state"] == "not_promoted"
        lock.write(str(os.getpid()))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert client.get("/runs.json").json()["runs"][0]["state"] == "at_work"


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
