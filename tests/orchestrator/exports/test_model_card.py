"""The model card: a header that the hub can read, and what the run knows."""

import re
from dataclasses import replace

import pytest

from services.core.contract import Contract
from services.core.evaluation import Comparison, Tally
from services.core.parity import Cell
from services.orchestrator.exports.model_card import CardFacts, card_of_run, model_card
from services.orchestrator.run.evaluation import Accuracy, Labelled
from services.orchestrator.run.run import read_run
from services.rpc.client import StudentVersion
from tests.orchestrator.ui.exhibits import make_run

NAME = "`</code>|**bold**<img src=x>\n\n---\nlicense: evil"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    with read_run(make_run(folder / "run", folder / "pool", 12)) as opened:
        yield opened


def version(**fields):
    known = {"model": "Qwen/Qwen2-VL-2B-Instruct@abc", "parent": "v1", "created_at": "2026-01-01"}
    return StudentVersion("v2", True, "ab" * 32, Contract(), **{**known, **fields})


def header(card):
    import yaml

    return yaml.safe_load(card.split("---\n")[1])


def row(card, name):
    return re.search(rf"^\| {name} \| (.*) \|$", card, re.MULTILINE).group(1)


def test_the_header_is_what_the_hub_reads(run):
    found = header(card_of_run(run, version(), "better"))
    assert found["base_model"] == "Qwen/Qwen2-VL-2B-Instruct"
    assert (found["license"], found["pipeline_tag"]) == ("apache-2.0", "image-text-to-text")
    assert found["library_name"] == "transformers"
    assert "vqa" in found["tags"]


@pytest.mark.parametrize("model", ["", NAME, "a/b/c", "/home/me/model"])
def test_a_model_that_is_not_on_the_hub_is_not_named_as_one(model):
    found = header(model_card(version(model=model)))
    assert not {"base_model", "license"} & found.keys()


def test_a_licence_that_the_hub_does_not_list_is_named():
    found = header(model_card(version(model="Qwen/Qwen2.5-VL-3B-Instruct@main")))
    assert found["license"] == "other"
    assert "Qwen" in found["license_name"]


def test_the_card_tells_what_the_run_knows(run):
    card = card_of_run(run, version(), "48.0% before, 50.0% after")
    tally = run.state.evaluation.held_out.overall
    assert row(card, "parent version") == "`v1`"
    assert row(card, "promoted") == "`48.0% before, 50.0% after`"
    assert row(card, r"teachers \(fingerprints\)") == f"`{run.state.teacher()}`"
    assert row(card, "label noise").startswith("66.7% (30.0% to 90.3%): ")
    assert all(str(name) in row(card, "cells") for name in Cell)
    assert row(card, "source of the images") == "`pool`", "without the path of this machine"
    measured = row(card, "held-out records, labelled by the teacher")
    assert measured.startswith(f"{tally.questions} | {tally.before:.1%} (")
    assert f"| {tally.fixed} | {tally.broken} |" in measured


def test_the_weakest_kinds_come_first_and_losses_are_named(run):
    kinds = {
        "good": Tally(10, 0.5, 0.9, 4, 0),
        NAME: Tally(10, 0.5, 0.1, 0, 4),
        "fair": Tally(10, 0.5, 0.6, 1, 0),
    }
    comparison = Comparison(Tally(30, 0.5, 0.53, 5, 4), kinds)
    teacher = Accuracy(0.9, dict.fromkeys(kinds, 0.8))
    labelled = Labelled("/secret/" + "labels.jsonl", comparison, teacher, 0, ())
    known = CardFacts(
        summary=_summary(run),
        evaluation=replace(run.state.evaluation, labelled=labelled),
        teachers=(NAME,),
        reason=NAME,
    )
    card = model_card(version(), known)
    weak = card.partition("## Known weaknesses")[2].partition("## Use")[0]
    order = [weak.index(text) for text in ("bold", "`fair`", "`good`")]
    assert order == sorted(order)
    assert "80.0%" in weak
    assert "bold" in weak.partition("lost more answers")[2]
    assert "`labels.jsonl`" in card
    assert "/secret" not in card
    assert set(header(card)) == set(header(card_of_run(run, version(), ""))), "no key from data"
    assert not re.search(r"^license: evil", card, re.MULTILINE)


def _summary(run):
    from services.orchestrator.run.summary import summarise

    return summarise(run.ledger)


def test_a_template_of_any_text_is_a_literal_of_the_program():
    template = "\"\"\"{question}'''\n```\n\\ \U0001f600 {x}"
    card = model_card(replace(version(), contract=Contract(answer_template=template)))
    program = re.search(r"^(`{3,})python\n(.*?)^\1$", card, re.MULTILINE | re.DOTALL).group(2)
    (line,) = [line for line in program.splitlines() if line.startswith("TEMPLATE = ")]
    found = {}
    exec(line, found)
    assert found["TEMPLATE"] == template
    compile(program, "card", "exec")
