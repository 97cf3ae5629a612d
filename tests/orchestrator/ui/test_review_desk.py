"""Reviews by forms alone: one record, a whole list, two reviewers, a run that can't be written."""

import asyncio
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.errors import WrongState
from services.orchestrator.run.ledger.review_book import FILE, ReviewBook, reading_reviews
from services.orchestrator.run.run import read_run
from services.orchestrator.ui import rendering
from services.orchestrator.ui.choosing import Wish
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.record_list import read_records
from services.orchestrator.ui.review_desk import review_record
from services.orchestrator.ui.upkeep import Renewed, open_catalogue
from tests.orchestrator.conftest import bench
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted
from tests.waiting import until_true


@pytest.fixture
def desk(tmp_path):
    """A client of the explorer over a run of its own, which says where its forms are from."""
    make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=20)
    with serving(tmp_path / "runs") as client:
        client.headers["Origin"] = str(client.base_url).rstrip("/")
        until_counted(client, "a")
        client.post("/reviewer", data={"reviewer": "Ann Ö."})
        yield client


def name(record):
    return f"{record['image_sha256']}-{record['number']}-{record['attempt']}"


def listed(client, query=""):
    return client.get(f"/runs/a/records.json?{query}").json()


def review(client, record, query="", **form):
    return client.post(f"/runs/a/records/{name(record)}/review?{query}", data=form)


def test_a_record_is_reviewed_by_a_form_and_the_next_one_is_shown(desk):
    first, second, *_ = listed(desk, "cell=gap")["records"]
    page = desk.get(f"/runs/a/records/{name(first)}?cell=gap").text
    assert f'action="/runs/a/records/{name(first)}/review?cell=gap"' in page
    answer = review(desk, first, "cell=gap", verdict="correct", correction=" <b>green</b> ")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/runs/a/records/{name(second)}?cell=gap"
    review(desk, first, verdict="reject")
    review(desk, first, verdict="correct", correction="<b>green</b>")
    document = desk.get(f"/runs/a/records/{name(first)}.json").json()
    assert document["reviewed"] == {"state": "corrected", "correction": "<b>green</b>"}
    assert [(r["reviewer"], r["verdict"]) for r in document["reviews"]] == [
        ("Ann Ö.", "correct"),
        ("Ann Ö.", "reject"),
        ("Ann Ö.", "correct"),
    ]
    page = desk.get(f"/runs/a/records/{name(first)}").text
    assert "people: corrected: <bdi>&lt;b&gt;green&lt;/b&gt;</bdi>" in page
    assert page.count("replaced by a later one") == 2


def test_a_record_of_the_list_is_reviewed_there_and_the_facet_follows(desk):
    record = listed(desk)["records"][3]
    answer = review(desk, record, "order=newest", verdict="accept", back="list")
    assert answer.headers["location"] == f"/runs/a/records?order=newest#r-{name(record)}"
    assert listed(desk)["reviews"][3] == {"state": "accepted", "correction": ""}
    until_true(lambda: listed(desk, "reviewed=accepted")["found"] == 1)
    found = listed(desk, "reviewed=accepted")
    assert name(found["records"][0]) == name(record)
    assert found["facets"]["reviewed"] == {"accepted": 1, "no": 39}


def test_two_reviewers_who_differ_are_shown(desk):
    record = listed(desk)["records"][0]
    review(desk, record, verdict="accept")
    desk.post("/reviewer", data={"reviewer": "Bob"})
    review(desk, record, verdict="reject")
    assert listed(desk)["reviews"][0]["state"] == "disputed"
    assert "Ann Ö." in desk.get(f"/runs/a/records/{name(record)}").text
    until_true(lambda: desk.get("/runs/a/reviews.json").json()["states"] == {"disputed": 1})
    found = desk.get("/runs/a/reviews.json").json()
    assert found["pairs"] == [{"one": "Ann Ö.", "other": "Bob", "records": 1, "kappa": 0.0}]
    assert "Ann Ö." in desk.get("/runs/a/reviews").text


def test_a_list_is_reviewed_at_once_if_its_number_is_confirmed(desk, tmp_path):
    found = listed(desk, "cell=gap")
    own = found["records"][0]
    review(desk, own, verdict="reject")
    count = str(found["found"])
    assert f'name="number" value="{count}"' in desk.get("/runs/a/records?cell=gap").text
    address = "/runs/a/review?cell=gap"
    for form in ({"number": "3", "sure": "yes"}, {"number": count}):
        assert desk.post(address, data={**form, "verdict": "accept"}).status_code == 409
    for verdict in ("correct", "no such verdict"):
        form = {"verdict": verdict, "number": count, "sure": "yes"}
        assert desk.post(address, data=form).status_code == 400
    answer = desk.post(address, data={"verdict": "accept", "number": count, "sure": "yes"})
    assert answer.headers["location"] == "/runs/a/records?cell=gap"
    states = [state["state"] for state in listed(desk, "cell=gap")["reviews"]]
    assert states == ["rejected", *["accepted"] * (found["found"] - 1)]
    with reading_reviews(tmp_path / "runs" / "a") as book:
        assert len(book.every()) == found["found"]


@pytest.mark.parametrize(
    "form", [{}, {"verdict": "approve"}, {"verdict": "correct"}, {"verdict": "x" * 70_000}]
)
def test_a_wrong_form_is_explained(desk, form):
    answer = review(desk, listed(desk)["records"][0], **form)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_nobody_reviews_without_a_name(desk):
    desk.cookies.clear()
    page = desk.get("/runs/a/records?cell=gap").text
    assert "Review these records" in page
    assert '<input type="hidden" name="back" value="/runs/a/records?cell=gap">' in page
    assert 'value="accept"' not in page
    assert review(desk, listed(desk)["records"][0], verdict="accept").status_code == 400


@pytest.mark.parametrize(
    "back", ["https://evil.example/runs", "//evil.example", "/\\evil", "/runs\r\nX: y", ""]
)
def test_a_name_leads_back_to_a_page_of_runs_alone(desk, back):
    answer = desk.post("/reviewer", data={"reviewer": "Ann", "back": back})
    assert answer.headers["location"] == "/runs"
    here = "/runs/a/records?cell=gap"
    answer = desk.post("/reviewer", data={"reviewer": "Ann", "back": here})
    assert answer.headers["location"] == here


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "own"},
        {"Sec-Fetch-Site": "none", "Origin": "own"},
    ],
)
def test_a_form_of_another_page_is_refused(desk, tmp_path, headers):
    own = desk.headers.pop("Origin")
    sent = {key: own if value == "own" else value for key, value in headers.items()}
    record = listed(desk)["records"][0]
    answer = desk.post(
        f"/runs/a/records/{name(record)}/review", data={"verdict": "accept"}, headers=sent
    )
    assert answer.status_code == 403
    assert "own pages alone" in answer.text
    assert not (tmp_path / "runs" / "a" / FILE).exists()
    answer = desk.post(
        f"/runs/a/records/{name(record)}/review",
        data={"verdict": "accept"},
        headers={"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    )
    assert answer.status_code == 303


def test_a_later_programs_reviews_are_refused_with_the_reason(desk, tmp_path):
    record = listed(desk)["records"][0]
    with closing(ReviewBook(tmp_path / "runs" / "a" / FILE)) as book:
        book.write("UPDATE meta SET value = '99'")
    answer = review(desk, record, verdict="accept")
    assert answer.status_code == 409
    assert "update the program" in answer.text


def test_a_run_that_cannot_be_written_says_so_and_takes_no_review(desk, tmp_path):
    root = tmp_path / "runs"
    with read_run(root / "a") as run, closing(open_catalogue(run)) as catalogue:
        away = replace(run, folder=tmp_path / "nowhere")  # root may write everywhere else
        opened = OpenedRun("a", away, catalogue, Renewed())
        found = read_records(opened, Wish())
        row = found.entries[0].annotation
        assert row is not None
        with pytest.raises(WrongState, match="can't be written"):
            review_record(opened, row, "Ann", "accept", "")
        content = {"view": found, "document": "", "address": "/runs", "reviewer": "Ann"}
        page = rendering.page("records.html", content).body.decode()
    assert not found.may_review
    assert "reviews can&#39;t be kept" in page or "reviews can't be kept" in page
    assert 'value="accept"' not in page


async def test_two_reviewers_and_a_run_at_work_do_not_hurt_each_other(tmp_path, pool):
    """Everybody reviews the first records again and again, until the run ends."""
    reviewed = Counter[str]()

    def work_on(client, own, reviewer):
        sent = {"Origin": own, "Cookie": f"reviewer={reviewer}"}
        found = client.get("/runs/a/records.json")
        for record in found.json()["records"][:3] if found.status_code == 200 else ():
            if record["question"]:
                address = f"/runs/a/records/{name(record)}/review"
                answer = client.post(address, data={"verdict": "accept"}, headers=sent)
                assert answer.status_code == 303, answer.text
                reviewed[reviewer] += 1

    async with bench(tmp_path / "calm", pool, limit=60) as calm:
        await calm.align()
    with serving(tmp_path / "runs") as client:
        own = str(client.base_url).rstrip("/")
        async with bench(tmp_path / "runs" / "a", pool, limit=60) as b:
            work = asyncio.create_task(b.align())
            while not work.done():
                tasks = (asyncio.to_thread(work_on, client, own, who) for who in ("Ann", "Bob"))
                await asyncio.gather(*tasks)
            await work
    assert b.parity_set() == calm.parity_set()
    with reading_reviews(tmp_path / "runs" / "a") as book:
        kept = Counter(one.reviewer for given in book.every().values() for one in given)
    assert kept == reviewed
    assert min(kept.values()) > 0
