"""The verdict's page says what the command says; its address holds the margin and the prices."""

import pytest

from services.orchestrator.run.run import read_run
from services.orchestrator.run.verdict import read_verdict


def test_the_page_says_what_the_command_says(client, root):
    with read_run(root / "a") as run:
        verdict = read_verdict(run, 0.05)
    page = client.get("/runs/a/verdict").text
    document = client.get("/runs/a/verdict.json").json()
    assert verdict.sentence in page
    assert document["sentence"] == verdict.sentence
    assert document["comparison"]["overall"]["questions"] == verdict.comparison.overall.questions
    assert "this is agreement with the teacher, not truth" in page
    assert "/runs/a/verdict" in client.get("/runs/a/overview").text


def test_margin_and_prices_are_in_the_address(client):
    given = {"margin": "80", "teacher_usd": "9", "student_usd": "1"}
    document = client.get("/runs/a/verdict.json", params=given).json()
    assert document["conclusion"] == "yes"
    assert document["economy"]["teacher"]["usd_per_thousand"] == 9.0
    assert 'value="80"' in client.get("/runs/a/verdict", params=given).text


@pytest.mark.parametrize(
    "given",
    [
        {"margin": "0"},
        {"margin": "nan"},
        {"margin": "<b>"},
        {"teacher_usd": "-1"},
        {"eval": "/etc/passwd"},
        {"other": "1"},
    ],
)
def test_an_odd_address_is_explained(client, given):
    answer = client.get("/runs/a/verdict", params=given)
    assert answer.status_code == 400
    assert "<b>" not in answer.text


def test_guard_sets_are_on_the_first_page(client):
    page = client.get("/runs/a/overview").text
    assert "What must not be lost" in page
    assert "/guards/&lt;other&gt;.jsonl" in page
    (guard,) = client.get("/runs/a/overview.json").json()["guards"]
    assert guard["found"]["conclusion"] == "yes"
