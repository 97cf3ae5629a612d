"""A run at work: its page, and the events that renew it."""

import shutil

import pytest

from services.orchestrator.run.journal import Journal, StageProgress
from services.orchestrator.run.run import locked
from services.orchestrator.ui import live_run
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted

STAGE = StageProgress("level", "samples", 3, 10, 2.0, 3.5, "training loss 0.412 <b>")


@pytest.fixture
def own(tmp_path):
    """A run of this test alone, and its explorer."""
    folder = make_run(tmp_path / "runs" / "b", tmp_path / "pool", images=12)
    with serving(tmp_path / "runs") as client:
        until_counted(client, "b")
        yield folder, client


def messages(response):
    """Data of each event, or the name of one that has none."""
    name = ""
    for line in response.iter_lines():
        name = line.removeprefix("event: ") if line.startswith("event: ") else name
        if line.startswith("data:"):
            yield name or line.removeprefix("data: ")
            name = ""


def test_a_run_at_rest_leads_to_its_result(client):
    page = client.get("/runs/a/live")
    assert page.status_code == 200
    assert "See the result" in page.text
    document = client.get("/runs/a/live.json").json()
    assert document["stages"] == []
    assert document["overview"] == client.get("/runs/a/overview.json").json()
    assert len(document["records"]) == live_run.SHOWN
    with client.stream("GET", "/runs/a/live/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert list(messages(response))[-1] == "ended"


def test_a_run_at_work_shows_its_stages_and_newest_records(own):
    folder, client = own
    with locked(folder):
        Journal(folder).note(STAGE)
        page = client.get("/runs/b/live").text
        assert "3 of 10 samples" in page
        assert "training loss 0.412 &lt;b&gt;" in page
        assert client.get("/runs/b/live.json").json()["stages"][0]["name"] == "level"
        assert page.count('<li class="record">') >= live_run.SHOWN - 1
        assert '<script type="module" src="/static/live.js"></script>' in page
        assert "Watch it at work" in client.get("/runs/b/overview").text
    assert "Watch it at work" not in client.get("/runs/b/overview").text


def test_events_come_when_the_run_goes_on_and_when_it_is_over(own):
    folder, client = own
    with locked(folder):
        journal = Journal(folder)
        journal.note(STAGE)
        with client.stream("GET", "/runs/b/live/events", timeout=60) as response:
            found = messages(response)
            first = next(found)
            journal.note(StageProgress("evaluate", "questions", 1, 2, 1.0, 1.0, ""))
            second = next(found)
            shutil.move(folder, folder.with_name("elsewhere"))
            assert first != second
            assert next(found) == "ended"


def test_there_are_no_events_of_a_run_that_is_not_there(client):
    assert client.get("/runs/none/live/events").status_code == 404
    assert client.get("/runs/none/live").status_code == 404
    assert client.get("/runs/..%2Fa/live/events").status_code == 404
