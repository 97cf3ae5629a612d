"""The model card: a header that the hub can read, and what the run knows."""

import re
from dataclasses import replace

import pytest

from services.core.contract import Contract
from services.core.evaluation import Comparison, Tally
from services.core.intervals import paired_difference
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


def version(name="v2", **fields):
    known = {"model": "Qwen/Qwen2-VL-2B-Instruct@abc", "parent": "v1", "created_at": "2026-01-01"}
    return StudentVersion(name, True, "ab" * 32, Contract(), **{**known, **fields})


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


def test_the_hub_reads_the_results_and_their_paired_intervals(run):
    from huggingface_hub import ModelCard, ModelCardData

    found = run.state.evaluation
    tally = found.held_out.overall
    card = card_of_run(run, version(name=NAME), "better")
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    assert data.eval_results is not None
    assert data.model_name == NAME
    accuracy, gain, guard, kept = data.eval_results
    assert (accuracy.dataset_type, accuracy.metric_type) == ("held_out", "accuracy")
    assert accuracy.task_type == "visual-question-answering"
    assert accuracy.metric_value == pytest.approx(tally.after, abs=1e-4)
    assert gain.metric_value == pytest.approx(tally.after - tally.before, abs=1e-4)
    assert gain.metric_args is not None
    assert kept.metric_args is not None
    low, high = gain.metric_args["low"], gain.metric_args["high"]
    assert -1 <= low < gain.metric_value < high <= 1
    counted = paired_difference(tally.fixed, tally.broken, tally.questions)
    assert high - low > counted.high - counted.low - 1e-4, "questions of an image belong together"
    assert f"{100 * low:+.1f} to {100 * high:+.1f}" in row(card, "held-out records.*?")
    assert (guard.dataset_type, guard.dataset_name) == ("guard", "<other>.jsonl")
    assert guard.metric_value == 1.0
    assert kept.metric_args["low"] == pytest.approx(found.guards[0].found.difference.low, abs=1e-4)
    ModelCard(model_card(version()))


def test_no_held_out_question_is_no_result_for_the_hub(run):
    evaluation = replace(run.state.evaluation, held_out=Comparison(Tally()), guards=())
    facts = CardFacts(_summary(run), evaluation, ("t",), "forced")
    assert "model-index" not in header(model_card(version(), facts))


def test_guard_sets_and_weak_kinds_have_paired_intervals(run):
    card = card_of_run(run, version(), "better")
    guards = card.partition("## Guard sets")[2].partition("## Known weaknesses")[0]
    assert row(guards, "`<other>.jsonl`") == (
        "100 (1 skipped) | 100.0% | 100.0% | +0.0 (-3.7 to +3.7) | 5 | yes"
    )
    weak = card.partition("## Known weaknesses")[2].partition("## Use")[0]
    lines = [line for line in weak.splitlines() if line.startswith("| `")]
    assert lines
    assert all(
        re.search(r"\| [+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\) \|", line) for line in lines
    )
    no_guards = CardFacts(_summary(run), replace(run.state.evaluation, guards=()), (), "")
    assert "No guard set was named" in model_card(version(), no_guards)
