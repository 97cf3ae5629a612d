"""The page of a record: every answer, each matcher's verdict, samples, scores, neighbours."""

import re
from contextlib import closing
from html.parser import HTMLParser

import pytest

from services.core.answers import MATCHERS
from services.orchestrator.run.ledger import AnswerRow, Ledger
from services.orchestrator.run.run import read_run
from tests.orchestrator.ui.exhibits import make_run, serving


@pytest.fixture(scope="module")
def judged(client):
    """The first record that was sampled and evaluated."""
    chosen = "/runs/a/records.json?order=agreement&held_out=yes"
    return client.get(chosen).json()["records"][0]


def name(record):
    return f"{record['image_sha256']}-{record['number']}-{record['attempt']}"


def test_a_record_has_all_that_the_ledger_has(client, judged):
    record = client.get(f"/runs/a/records/{name(judged)}.json").json()
    assert record.items() >= judged.items()
    answers = {answer["role"]: answer for answer in record["answers"]}
    assert set(answers) == {"student", "teacher"}
    for answer in answers.values():
        assert answer["matches"] == {
            matcher: MATCHERS[matcher].matches(answer["answer"], record["answer"])
            for matcher in MATCHERS
        }
    assert [score["role"] for score in record["scores"]] == ["before", "after"]
    (opinion,) = record["opinions"]
    assert opinion["agreed"] == record["samples_agreed"]


def test_the_page_says_the_same(client, judged):
    page = client.get(f"/runs/a/records/{name(judged)}").text
    for text in (judged["question"], judged["student_answer"], judged["image_path"], "held out"):
        assert text in page
    assert page.count("<h1") == 1


class Nesting(HTMLParser):
    """Elements within a paragraph that end it: a browser would show them after it."""

    def __init__(self, page):
        super().__init__()
        self.is_in_paragraph, self.found = False, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if self.is_in_paragraph and tag in ("div", "p", "table", "section", "dl"):
            self.found.append((tag, self.getpos()))
        self.is_in_paragraph = self.is_in_paragraph or tag == "p"

    def handle_endtag(self, tag):
        self.is_in_paragraph = self.is_in_paragraph and tag != "p"


def test_a_long_annotation_is_in_no_paragraph(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=1)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        (record, *_) = ledger.records()
        ledger.write("UPDATE annotations SET answer = ?", "red " * 100)
    with serving(tmp_path / "runs") as client:
        page = client.get(f"/runs/a/records/{record.image_sha256}-0-0").text
    assert page.count("red " * 100) == 1
    assert Nesting(page).found == []


def test_neighbours_are_those_of_the_list_it_was_opened_from(client):
    listed = client.get("/runs/a/records.json?cell=gap").json()["records"]
    page = client.get(f"/runs/a/records/{name(listed[1])}?cell=gap").text
    assert f'rel="prev" href="/runs/a/records/{name(listed[0])}?cell=gap"' in page
    assert f'rel="next" href="/runs/a/records/{name(listed[2])}?cell=gap"' in page
    backwards = client.get(f"/runs/a/records/{name(listed[1])}?cell=gap&order=newest").text
    assert f'rel="next" href="/runs/a/records/{name(listed[0])}' in backwards


def test_neighbours_by_agreement_are_those_of_the_list_in_both_directions(client):
    address = "/runs/a/records{}order=agreement"
    listed = [name(one) for one in client.get(address.format(".json?")).json()["records"]]
    assert len(listed) > 10
    for towards, wanted in (("next", listed), ("prev", listed[::-1])):
        followed = [wanted[0]]
        while len(followed) < len(wanted):
            page = client.get(address.format(f"/{followed[-1]}?")).text
            found = re.search(rf'rel="{towards}" href="/runs/a/records/([0-9a-f-]+)\?', page)
            assert found, followed
            followed.append(found[1])
        assert followed == wanted
    first = client.get(address.format(f"/{listed[0]}?")).text
    assert 'rel="prev"' not in first


def test_a_refused_image_has_a_page(client):
    answer = client.get("/runs/a/refused", params={"path": "broken.png"})
    assert answer.status_code == 200
    assert "image unreadable" in answer.text
    assert "no image at all" in answer.text
    assert client.get("/runs/a/refused", params={"path": "000.png"}).status_code == 404


@pytest.mark.parametrize(
    "key", ["x", "a-0", "a-0-0", "a-b-c", "-1-0", "a-9999999999999-0", "a-²-0"]
)
def test_another_name_is_not_found(client, key):
    for suffix in ("", ".json"):
        answer = client.get(f"/runs/a/records/{key}{suffix}")
        assert answer.status_code == 404
        assert "record" in answer.text


def test_the_other_matchers_are_not_tried_on_a_long_answer(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=1)
    with read_run(run) as opened, closing(Ledger(run / "ledger.sqlite")) as ledger:
        (record, *_) = opened.ledger.records()
        asked = (record.image_sha256, record.question)
        ledger.add_answer(AnswerRow(*asked, "student", "v9", "a " * 50_000, "c", "evaluate"))
    with serving(tmp_path / "runs") as client:
        found = client.get(f"/runs/a/records/{record.image_sha256}-0-0.json").json()
        matches = {answer["version"]: answer["matches"] for answer in found["answers"]}
        assert matches["v9"] is None
        assert matches["v1"] is not None
        assert "too long" in client.get(f"/runs/a/records/{record.image_sha256}-0-0").text


def test_a_record_has_its_losses_by_epoch_and_its_log_probabilities(client):
    (record, *_) = client.get("/runs/a/records.json?order=loss").json()["records"]
    address = f"/runs/a/records/{record['image_sha256']}-{record['number']}-0"
    found = client.get(f"{address}.json").json()
    (learned,) = found["losses"]
    assert (learned["round"], learned["answer"], learned["by_epoch"]) == (1, "red", [8.5, 8.0])
    page = client.get(address).text
    assert re.search(r"epoch 1:</span> 8\.500, .*epoch 2:</span> 8\.000 .*mean 8\.250", page)
    (record, *_) = client.get("/runs/a/records.json?order=unsure").json()["records"]
    assert record["student_logprob"] == -0.5
    address = f"/runs/a/records/{record['image_sha256']}-{record['number']}-0"
    assert "-0.500 (60.7%)" in client.get(address).text
