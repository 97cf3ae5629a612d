"""The first page of a run says what the summary says, and each number leads to its records."""

import html
import math
import re
from contextlib import closing

import pytest

from services.core.parity import Cell
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.run import read_run
from services.orchestrator.run.summary import summarise
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted

LINKED = re.compile(r'<a href="([^"]*/records\?[^"]*)">([\d,]+)</a>')


def test_the_numbers_are_those_of_the_summary(client, root):
    with read_run(root / "a") as run:
        summary = summarise(run.ledger)
    found = client.get("/runs/a/overview.json").json()
    assert {cell: found["cells"].get(cell, 0) for cell in Cell} == summary.cells
    assert found["rejected"] == {"no_question": summary.rejected["no_question"]}
    assert found["refused"] == summary.image_files.refused
    assert (found["outcome"], found["base"], found["candidate"]) == ("not promoted", "v1", "v2")
    assert summary.reason in found["sentence"]
    overall = found["evaluations"][0]["lines"][0]
    assert (overall["fixed"], overall["broken"]) == (summary.fixed, summary.broken)
    assert overall["fixed"] and overall["broken"]


def test_every_number_of_the_page_is_the_number_of_records_behind_it(client):
    page = client.get("/runs/a/overview").text
    links = LINKED.findall(page)
    assert len(links) > 20
    for address, number in links:
        document = client.get(html.unescape(address).replace("/records?", "/records.json?")).json()
        assert document["found"] == int(number.replace(",", "")), address


def test_stages_have_their_calls_and_rates(client):
    (stage,) = (
        stage
        for stage in client.get("/runs/a/overview.json").json()["stages"]
        if stage["name"] == "annotate"
    )
    assert (stage["seconds"], stage["calls"], stage["per_second"]) == (2.0, 120, 60.0)


def test_calibration_is_a_picture_with_its_error(client, tmp_path):
    found = client.get("/runs/a/overview.json").json()["calibration"]
    assert found["after"]["answers"] > found["before"]["answers"] > 0, "some have none"
    (after,) = (part for part in found["after"]["bins"] if part["answers"])
    assert after["probability"] == pytest.approx(math.exp(-0.1))
    assert after["share"]["low"] < after["share"]["expected"] < after["share"]["high"]
    page = client.get("/runs/a/overview").text
    assert "Expected calibration error before:" in page
    assert "probability. Before: " in page


def test_where_no_log_probabilities_were_kept_there_is_no_picture(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=12)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.write("UPDATE answers SET logprob = NULL")
    with serving(tmp_path / "runs") as client:
        found = until_counted(client, "a")["calibration"]
        page = client.get("/runs/a/overview").text
    assert found["before"]["answers"] == found["after"]["answers"] == 0
    assert found["after"]["error"] is None
    assert "There is no picture of the calibration" in page
