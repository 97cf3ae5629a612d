"""Every view of finished, unfinished, empty and older runs; strange texts; a deleted run."""

import asyncio
import json
import re
import shutil
import sqlite3
import tarfile
from contextlib import closing
from html.parser import HTMLParser

import pytest

from services.core.parity import Cell
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.run import read_run
from services.orchestrator.run.summary import summarise
from tests.orchestrator.conftest import bench
from tests.orchestrator.run.ledger.test_migration import SCHEMA_1
from tests.orchestrator.run.test_stored import ARCHIVE
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted
from tests.waiting import until_true

VIEWS = ("overview", "records", "records?cell=gap", "records?q=the&order=newest")
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \u202egnp.exe {{ 7*7 }} \x00'


@pytest.fixture
def stored(tmp_path):
    """Runs of an earlier program, one of them killed in the middle; their images are gone."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    return tmp_path / "runs"


class Reader(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def looked_at(client, run):
    """Reads each view of a run, as a page and as a document."""
    documents = {}
    for view in VIEWS:
        page = client.get(f"/runs/{run}/{view}")
        assert page.status_code == 200, page.text
        reader = Reader(page.text)
        assert [tag for tag, _ in reader.elements].count("h1") == 1
        assert page.text.startswith("<!doctype html>")
        path, mark, query = view.partition("?")
        document = client.get(f"/runs/{run}/{path}.json{mark}{query}")
        assert document.status_code == 200
        documents[view] = document.json()
        if "found" in documents[view]:
            found = f"{documents[view]['found']:,} record"
            assert re.search(rf"<h1>{found}s?</h1>", page.text)
    for record in documents["records"]["records"][:2]:
        if record["number"] is not None:
            key = f"{record['image_sha256']}-{record['number']}-{record['attempt']}"
            assert client.get(f"/runs/{run}/records/{key}").status_code == 200
    return documents


@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_runs_of_an_earlier_program_are_shown_as_they_are(stored, name):
    before = (stored / name / "ledger.sqlite").read_bytes()
    with serving(stored) as client:
        found = until_counted(client, name)
        documents = looked_at(client, name)
    with read_run(stored / name) as run:
        summary = summarise(run.ledger)
    assert {cell: found["cells"].get(cell, 0) for cell in Cell} == summary.cells
    assert found["records"] == sum(summary.cells.values()) > 50
    told = (stored / "printed" / f"{name}-records.jsonl").read_text().splitlines()
    assert documents["records"]["found"] == len(told)
    new = {"student_logprob": None}
    assert documents["records"]["records"] == [json.loads(line) | new for line in told[:25]]
    assert (stored / name / "ledger.sqlite").read_bytes() == before


def test_a_run_of_two_rounds_has_the_evaluation_behind_its_links(stored):
    with serving(stored) as client:
        found = until_counted(client, "finished")
        overall, *kinds = found["evaluations"][0]["lines"]
        fixed = client.get("/runs/finished/records.json?result=fixed").json()
        assert fixed["found"] == overall["fixed"] == 13
        assert fixed["facets"]["judged"] == {kind["kind"]: kind["fixed"] for kind in kinds}


def test_an_empty_run_and_an_empty_folder_are_shown(tmp_path):
    with serving(tmp_path / "runs") as client:
        assert "begins one" in client.get("/runs").text
        make_run(tmp_path / "runs" / "empty", tmp_path / "pool", images=0)
        assert looked_at(client, "empty")["overview"]["records"] == 0
        (line,) = client.get("/runs.json").json()["runs"]
        assert (line["records"], line["gap_rate"]) == (0, None)


def test_a_ledger_of_the_first_schema_is_shown(tmp_path):
    run = make_run(tmp_path / "runs" / "new", tmp_path / "pool", images=0)
    old = tmp_path / "runs" / "old"
    old.mkdir()
    with closing(sqlite3.connect(old / "ledger.sqlite")) as ledger:
        ledger.executescript(SCHEMA_1)
        with closing(sqlite3.connect(run / "ledger.sqlite")) as other:
            kept = other.execute(
                "SELECT key, value FROM meta WHERE key IN ('settings', 'id', 'version.before')"
            ).fetchall()
        ledger.executemany("INSERT INTO meta VALUES (?, ?)", kept)
        ledger.commit()
    with serving(tmp_path / "runs") as client:
        assert until_counted(client, "old")["cells"] == {"gap": 1}
        assert looked_at(client, "old")["records"]["records"][0]["student_answer"] == "blue"


def test_an_unreadable_run_is_listed_and_explained(tmp_path):
    make_run(tmp_path / "runs" / "good", tmp_path / "pool", images=2)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with serving(tmp_path / "runs") as client:
        lines = {line["name"]: line["state"] for line in client.get("/runs.json").json()["runs"]}
        assert lines == {"bad": "unreadable", "good": "not_promoted"}
        answer = client.get("/runs/bad/overview")
        assert answer.status_code == 500
        assert "is damaged" in answer.text
        assert "Traceback" not in answer.text


def test_a_run_that_is_deleted_while_it_is_viewed_is_gone(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with serving(tmp_path / "runs") as client:
        looked_at(client, "a")
        shutil.rmtree(run)
        for view in VIEWS:
            answer = client.get(f"/runs/a/{view}")
            assert answer.status_code == 404
            assert "deleted or moved" in answer.text
        assert client.get("/runs.json").json()["runs"] == []


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "..%2fruns%2fa", "a%00", "a/..", "%ff", "A"])
def test_only_names_of_runs_are_names(client, name):
    answer = client.get(f"/runs/{name}/overview")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_texts_of_models_and_names_of_files_stay_texts(tmp_path):
    run = make_run(tmp_path / "runs" / "<b>&", tmp_path / "pool", images=1)
    ledger = Ledger(run / "ledger.sqlite")
    long = f"{HOSTILE} " + "ab " * 35_000
    ledger.add_image(ImageRow(f"{HOSTILE}.png", "f" * 64, step=2))
    ledger.add_image(ImageRow(f"{HOSTILE}-2.png", "", HOSTILE, HOSTILE))
    ledger.add_annotation(
        AnnotationRow("f" * 64, 0, 0, HOSTILE, f"zebra {HOSTILE}", HOSTILE, "", 1, HOSTILE)
    )
    ledger.add_answer(
        AnswerRow("f" * 64, f"zebra {HOSTILE}", "student", "v1", long, "c", "identify")
    )
    ledger.add_record("f" * 64, 0, Cell.GAP, HOSTILE)
    ledger.close()
    with serving(tmp_path / "runs") as client:
        (at,) = (line["name"] for line in client.get("/runs.json").json()["runs"])
        assert at == "<b>&"
        at = "/runs/%3Cb%3E%26"
        until_true(lambda: client.get(f"{at}/overview.json").json()["renewed"]["is_complete"])
        whole = f"{at}/records/{'f' * 64}-0-0"
        listed = f"{at}/records?q=zebra"
        for path in ("/runs", f"{at}/overview", f"{at}/records", listed, whole):
            page = client.get(path)
            assert page.status_code == 200
            reader = Reader(page.text)
            scripts = [attrs for tag, attrs in reader.elements if tag == "script"]
            assert scripts == [{"type": "module", "src": "/static/explorer.js"}]
            assert not any(name.startswith("on") for _, attrs in reader.elements for name in attrs)
            assert "49" not in reader.text.replace("49152", "")
        assert long.strip() in Reader(client.get(whole).text).text.replace("\ufffd", "\x00")
        assert len(client.get(listed).text) < 20_000
        refused = client.get(f"{at}/refused", params={"path": f"{HOSTILE}-2.png"})
        assert refused.status_code == 200


async def test_a_run_is_looked_at_while_it_aligns(tmp_path, pool):
    statuses, found = set(), [0]
    with serving(tmp_path / "runs") as client:
        async with bench(tmp_path / "runs" / "a", pool) as b:
            work = asyncio.create_task(b.align())
            while not work.done():
                answer = await asyncio.to_thread(client.get, "/runs/a/records.json")
                statuses.add(answer.status_code)
                if answer.status_code == 200:
                    found.append(answer.json()["found"])
            summary = await work
        overview = {}

        def is_the_same():
            overview.update(client.get("/runs/a/overview.json").json())
            cells = {cell: overview["cells"].get(cell, 0) for cell in Cell}
            return cells == summary.cells and overview["outcome"] != "at work"

        until_true(is_the_same, describe=lambda: f"{overview['cells']} is not {summary.cells}")
    assert 200 in statuses
    assert statuses <= {200, 404, 409}, "404: no folder yet; 409: the run has not begun"
    assert found == sorted(found)
