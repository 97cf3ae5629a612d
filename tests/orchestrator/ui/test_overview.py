"""The first page of a run says what the summary says, and each number leads to its records."""

import html
import re

from services.core.parity import Cell
from services.orchestrator.run.run import read_run
from services.orchestrator.run.summary import summarise

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
