"""Lists of records: facets that agree with a count by hand, words, orders, pages."""

from collections import Counter
from contextlib import closing

import pytest

from services.core.parity import Cell
from services.core.questions import question_kind
from services.orchestrator.run.columns import columns
from services.orchestrator.run.entries import read_entries
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.search import Filter
from services.orchestrator.run.run import read_run
from tests.orchestrator.ui.exhibits import loss, make_run, serving, sure, until_counted


@pytest.fixture(scope="module")
def entries(root):
    with read_run(root / "a") as run:
        return [columns(entry, run.settings) for entry in read_entries(run.ledger, Filter())]


def is_of(entry, *, cell=(), kind=(), held_out=(), words=()):
    text = f"{entry['question']} {entry['answer']} {entry['student_answer']}"
    return (
        (not cell or entry["cell"] in cell)
        and (not kind or (entry["question"] and question_kind(entry["question"]) in kind))
        and (not held_out or (entry["question"] and entry["held_out"] is (held_out == ("yes",))))
        and all(word in text.replace("?", " ").split() for word in words)
    )


CHOICES = [
    {},
    {"cell": ("gap",)},
    {"cell": ("gap", "known"), "kind": ("what color",)},
    {"held_out": ("yes",), "kind": ("yes/no", "where is")},
    {"words": ("blue",)},
    {"words": ("blue", "thing"), "cell": ("gap",)},
    {"cell": ("no such cell",)},
    {"words": ("zebra",)},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_choice_has_the_records_and_the_counts_of_a_count_by_hand(client, entries, choice):
    words = choice.get("words", ())
    asked = {**{k: v for k, v in choice.items() if k != "words"}, "q": " ".join(words)}
    document = client.get("/runs/a/records.json", params=asked).json()
    mine = [entry for entry in entries if is_of(entry, **choice)]
    assert document["found"] == len(mine)
    assert {key(r) for r in document["records"]} <= {key(r) for r in mine}
    others = {name: chosen for name, chosen in choice.items() if name != "cell"}
    cells = Counter(e["cell"] for e in entries if is_of(e, **others) and e["cell"])
    assert document["facets"]["cell"] == cells


def key(record):
    return record["image_path"], record["number"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"cell": "gap"},
        {"q": "thing"},
        {"order": "newest"},
        {"order": "agreement"},
        {"order": "loss"},
        {"order": "sure", "kind": "what color"},
        {"order": "unsure"},
        {"order": "unsure", "q": "thing"},
    ],
)
def test_paging_visits_every_record_once(client, asked):
    seen, after, pages = [], "", 0
    while True:
        params = {**asked, **({"after": after} if after else {})}
        document = client.get("/runs/a/records.json", params=params).json()
        seen += [key(record) for record in document["records"]]
        pages += 1
        after = document["next"]
        if not after:
            break
    assert len(seen) == len(set(seen)) == document["found"] > 0
    assert pages > 1 or len(seen) <= 25


def test_least_agreement_comes_first_and_newest_is_the_reverse(client):
    records = client.get("/runs/a/records.json?order=agreement").json()["records"]
    shares = [record["samples_agreed"] / record["samples_asked"] for record in records]
    assert shares == sorted(shares)
    first = client.get("/runs/a/records.json").json()["records"][0]
    params = {"order": "newest", "after": "2"}
    (last,) = client.get("/runs/a/records.json", params=params).json()["records"]
    assert key(last) == key(first)


def serial_of(record):
    return int(record["question"].rstrip("?").split()[-1])


@pytest.mark.parametrize("chosen", [{}, {"cell": ["gap", "known"]}, {"q": "blue"}], ids=str)
@pytest.mark.parametrize("order", ["loss", "unsure", "sure"])
def test_figures_bring_the_suspect_records_first(client, order, chosen):
    def figure(serial: int) -> float:
        return -loss(serial) if order == "loss" else (sure(serial) or 0.0) * sign

    sign = -1 if order == "sure" else 1
    everything = client.get("/runs/a/records.json", params=chosen).json()["records"]
    params, seen = {**chosen, "order": order}, []
    while True:
        document = client.get("/runs/a/records.json", params=params).json()
        seen += [figure(serial_of(record)) for record in document["records"]]
        if not document["next"]:
            break
        params["after"] = document["next"]
    assert seen == sorted(seen)
    assert len(seen) > min(25, len(everything)) / 2
    assert len(seen) == document["found"]


@pytest.mark.parametrize("order", ["loss", "unsure", "read"])
def test_a_record_leads_to_its_neighbours_in_the_list(client, order):
    first, second, third = client.get(f"/runs/a/records.json?order={order}").json()["records"][:3]
    page = client.get(
        f"/runs/a/records/{second['image_sha256']}-{second['number']}-0?order={order}"
    )
    for rel, record in (("prev", first), ("next", third)):
        address = f"/runs/a/records/{record['image_sha256']}-{record['number']}-0"
        assert f'rel="{rel}" href="{address}' in page.text


def test_a_run_without_samples_has_no_record_by_agreement(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.write("DELETE FROM opinions")
    with serving(tmp_path / "runs") as client:
        until_counted(client, "a")
        document = client.get("/runs/a/records.json?order=agreement").json()
        page = client.get("/runs/a/records?order=agreement").text
    assert (document["found"], document["records"], document["next"]) == (0, [], "")
    assert "<h1>0 records</h1>" in page


def test_words_may_be_a_phrase_in_any_case_and_signs_are_no_syntax(client):
    def found(text):
        return client.get("/runs/a/records.json", params={"q": text}).json()["found"]

    assert found('"THE THING 7"') == 1
    assert found('"thing the"') == 0
    assert found("017") == 2  # the name of an image
    everything = found("")
    assert found("thing\0 7") == found('"thing\0 7') == found('"thing 7"\0') == 1
    assert found(" ".join(["thing"] * 16)) == found("thing")
    assert found('"') == found("* ( ) - ?") == everything
    assert found("thing OR zebra") == found("NEAR(zebra)") == found("words:zebra") == 0


def test_the_page_shows_the_records_of_the_document(client):
    page = client.get("/runs/a/records?cell=gap&kind=what+color").text
    document = client.get("/runs/a/records.json?cell=gap&kind=what+color").json()
    assert f"<h1>{document['found']} records</h1>" in page
    assert all(record["question"] in page for record in document["records"])
    assert page.count("data-record") == len(document["records"]) > 1


def test_a_chosen_value_is_a_link_that_takes_it_back(client):
    page = client.get("/runs/a/records?cell=gap&held_out=yes").text
    assert 'href="/runs/a/records?held_out=yes" class="on"' in page
    assert f'href="/runs/a/records?held_out=yes&amp;cell=gap&amp;cell={Cell.KNOWN}"' in page


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("color=red", "there is no parameter"),
        ("order=best", "choose one of"),
        ("after=1;drop", "begin at the first page"),
        ("order=agreement&after=3", "begin at the first page"),
        ("order=loss&after=3", "begin at the first page"),
        ("order=sure&after=nan_3", "begin at the first page"),
        ("after=9" + "9" * 30, "begin at the first page"),
        ("q=" + "x" * 501, "at most 500"),
        ("q=" + "+".join(["thing"] * 17), "at most 16"),
        ("&".join(f"kind={n}" for n in range(51)), "at most 50"),
    ],
)
def test_a_wrong_parameter_is_named(client, query, said):
    for suffix in ("", ".json"):
        answer = client.get(f"/runs/a/records{suffix}?{query}")
        assert answer.status_code == 400
        assert said in answer.text
