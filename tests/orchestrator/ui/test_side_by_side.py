"""Two runs, or two rounds of one: their figures, and the records that differ alone."""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.errors import Overloaded
from services.core.parity import Cell
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.run import read_run
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.side_by_side import ComparedSides, Contrasts
from services.orchestrator.ui.upkeep import open_catalogue, renew_now
from tests.orchestrator.ui.exhibits import make_run, serving
from tests.orchestrator.ui.test_application import HOSTILE


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Runs "a" and "b", where one record of 18 is in another cell, and one has another answer.

    In the second round of "b", a third record has moved.
    """
    folder = tmp_path_factory.mktemp("compare")
    make_run(folder / "runs" / "a", folder / "pool", images=10)
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "b")
    with closing(Ledger(folder / "runs" / "b" / "ledger.sqlite")) as ledger, ledger.at_once():
        gap, other, later = [r for r in ledger.records() if r.cell is Cell.GAP][:3]
        ledger.write(
            "UPDATE records SET cell = 'known' WHERE cell = 'gap' AND image_sha256 = ?",
            gap.image_sha256,
        )
        ledger.write(
            "UPDATE answers SET answer = ? WHERE role = 'student' AND image_sha256 = ? "
            "AND question = ?",
            HOSTILE,
            other.image_sha256,
            other.question,
        )
        ledger.write(
            "INSERT INTO records SELECT image_sha256, number, cell, matcher, 2, student_matcher, "
            "shelf FROM records WHERE round = 1"
        )
        ledger.write(
            "UPDATE records SET cell = 'noise_both_wrong' WHERE round = 2 AND cell = 'gap' "
            "AND image_sha256 = ?",
            later.image_sha256,
        )
        ledger.begin_round(2)
    with serving(folder / "runs") as opened:
        yield opened


def compared(client, query):
    answer = client.get(f"/compare.json?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def is_in_the_same_cell(record):
    return record["left"]["cell"] == record["right"]["cell"]


def test_only_records_that_differ_are_shown(client):
    found = compared(client, "left=a&right=b&right_round=1")
    assert found["differing"] == len(found["records"]) == 2
    moved, answered = sorted(
        found["records"], key=lambda r: r["left"]["cell"] == r["right"]["cell"]
    )
    assert (moved["left"]["cell"], moved["right"]["cell"]) == ("gap", "known")
    assert answered["right"]["student"] == HOSTILE
    assert answered["left"]["question"] == answered["right"]["question"]
    assert found["left"]["cells"]["gap"] - found["right"]["cells"]["gap"] == 1
    changes = [m for m in found["moved"] if m["left"] != m["right"]]
    assert changes == [{"left": "gap", "right": "known", "count": 1}]
    assert found["settings"] == {}
    assert compared(client, "left=a&right=a")["differing"] == 0


def test_rounds_of_one_run_are_compared(client):
    found = compared(client, "left=b&right=b&left_round=1&right_round=2")
    assert (found["left"]["round"], found["right"]["round"]) == (1, 2)
    (record,) = found["records"]
    assert (record["left"]["cell"], record["right"]["cell"]) == ("gap", "noise_both_wrong")
    assert found["left"]["candidate"] == "v2"
    assert found["right"]["candidate"] == ""
    address = "/compare?left=b&amp;right=b&amp;left_round=1&amp;right_round=2"
    assert address in client.get("/runs/b/overview").text


def test_the_page_shows_the_same_and_texts_stay_texts(client):
    page = client.get("/compare?left=a&right=b&right_round=1").text
    assert "2 records that differ" in page
    assert page.count('<li class="record">') == 2
    assert re.findall(r"<script(.*?)>", page) == [
        ' type="module" src="/static/explorer.js"',
    ]
    for address in re.findall(r'data-record href="([^"]*)"', page):
        assert client.get(address).status_code == 200
    assert "0 records that differ" in client.get("/compare?left=a&right=a").text


def test_the_list_of_runs_leads_there(client):
    page = client.get("/runs").text
    assert '<form class="choice" action="/compare">' in page
    assert re.findall(r"<option( selected)?>(\w)</option>", page) == [
        *[("", "a"), ("", "b")],
        *[("", "a"), (" selected", "b")],
    ]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("left=a", 400, "right is missing"),
        ("left=a&right=b&left_round=2", 400, "a has no round 2"),
        ("left=a&right=b&left_round=x", 400, "is no number"),
        ("left=a&right=b&side=c", 400, "no parameter"),
        ("left=a&right=../b", 404, "there is no run"),
    ],
)
def test_a_wrong_address_is_explained(client, query, status, said):
    for suffix in ("", ".json"):
        answer = client.get(f"/compare{suffix}?{query}")
        assert answer.status_code == status
        assert said in answer.text


def test_a_second_comparison_is_refused_while_one_is_made(tmp_path):
    """The first one is as long as the test wants."""
    contrasts = Contrasts()
    folder = make_run(tmp_path / "c", tmp_path / "pool", images=4)
    renewed = renew_now(folder, lambda *_: None)
    began, may_end = threading.Event(), threading.Event()

    class SlowLedger(Ledger):
        def read(self, statement, *values):
            if "records" in statement and not began.is_set():
                began.set()
                assert may_end.wait(30)
            return super().read(statement, *values)

    def compared_with(kind, sides):
        with (
            closing(kind(folder / "ledger.sqlite", read_only=True)) as ledger,
            read_run(folder) as run,
            closing(open_catalogue(run)) as catalogue,
        ):
            opened = OpenedRun("c", replace(run, ledger=ledger), catalogue, renewed)
            return contrasts.read(opened, opened, sides)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(compared_with, SlowLedger, ComparedSides("c", "c"))
        assert began.wait(30)
        with pytest.raises(Overloaded, match="load this page again"):
            compared_with(Ledger, ComparedSides("c", "c"))
        may_end.set()
        assert first.result().contrast.differing == 0
    assert compared_with(Ledger, ComparedSides("c", "c")).contrast is first.result().contrast
