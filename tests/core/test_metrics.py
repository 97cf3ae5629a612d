"""Every metric against scores of the official implementations (*_vectors.jsonl)."""

import json
from pathlib import Path

import pytest

from services.core import metrics
from services.core.answers import MATCHERS
from services.core.errors import InvalidInput
from services.core.metrics import (
    CORPUS_METRICS,
    METRICS,
    bleu1,
    chartqapro_accuracy,
    cider,
    normalize_vqa_answer,
    rouge_l,
    vqa_accuracy,
    yes_or_no,
)

HERE = Path(__file__).parent
VECTORS = [json.loads(line) for line in (HERE / "metric_vectors.jsonl").read_text().splitlines()]
CAPTIONS = [json.loads(line) for line in (HERE / "caption_vectors.jsonl").read_text().splitlines()]
ROWS = {
    "vqa_accuracy": 430,
    "relaxed_accuracy": 239,
    "chartqapro_accuracy": 239,
    "exact_match": 168,
    "anls": 154,
    "word_recognition": 135,
    "ignore_case_match": 135,
    "yes_no_accuracy": 48,
    "contains_accuracy": 101,
}


@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_the_official_scores(name):
    rows = [row for row in VECTORS if row["metric"] == name]
    assert len(rows) >= ROWS[name]
    wrong = [
        row
        for row in rows
        if abs(METRICS[name](row["prediction"], row["references"]) - row["score"]) > 1e-6
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "count"), [("bleu1", 22), ("rouge_l", 26), ("cider", 24)])
def test_agrees_with_the_official_scores_of_captions(name, count):
    rows = [row for row in CAPTIONS if name in row]
    assert len(rows) == count
    wrong = [
        row
        for row in rows
        if abs(CORPUS_METRICS[name](row["predictions"], row["references"]) - row[name]) > 1e-6
    ]
    assert wrong == []


def test_chartqapro_wants_years_exactly():
    rows = [row for row in VECTORS if row["metric"] == "chartqapro_accuracy"]
    wrong = [
        row
        for row in rows
        if abs(
            chartqapro_accuracy(row["prediction"], row["references"], is_year=True) - row["as_year"]
        )
        > 1e-6
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("[10, blue]", "[10, 'blue']", 1.0),
        ("[10.4, red]", "[10, blue]", 0.5),
        ("[10]", "[10, 20]", 0.5),
        ("0.1", "0", 0.0),
    ],
)
def test_chartqapro_compares_lists_element_by_element(prediction, reference, score):
    assert chartqapro_accuracy(prediction, [reference]) == score


def test_normalizes_as_the_vqa_challenge_does():
    """The rows include every entry of its contraction table."""
    rows = [row for row in VECTORS if row["metric"] == "normalize_vqa_answer"]
    assert len(rows) == 292
    assert [row for row in rows if normalize_vqa_answer(row["prediction"]) != row["expected"]] == []


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("somebody'd", "somebodyd"),  # the table has this entry the wrong way round
        ("somebodyd", "somebodyd"),
        ("'ows'at", "'ow's'at"),
        ("'ow's'at", "'ow 's'at"),  # 's is split off before the table is asked
        ("Im", "im"),  # entries with capitals can't match
    ],
)
def test_quirks_of_the_contraction_table_are_kept(answer, normalized):
    assert normalize_vqa_answer(answer) == normalized


def test_contains_matcher_selects_what_the_authors_select():
    rows = [row for row in VECTORS if row["metric"] == "authors_gap"]
    contains = MATCHERS["contains"]
    selected = [
        contains.matches(row["teacher"], row["references"][0])
        and not contains.matches(row["prediction"], row["references"][0])
        for row in rows
    ]
    assert selected == [bool(row["score"]) for row in rows]


@pytest.mark.parametrize(
    ("agreeing", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_vqa_accuracy_of_ten_annotators(agreeing, score):
    assert vqa_accuracy("red", ["red"] * agreeing + ["blue"] * (10 - agreeing)) == pytest.approx(
        score
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [("Yes.", "yes"), ("no, it is not", "no"), ("yes and no", ""), ("noted", ""), ("", "")],
)
def test_an_answer_with_neither_yes_nor_no_is_unknown(text, said):
    assert yes_or_no(text) == said


@pytest.mark.parametrize("name", METRICS)
def test_a_question_without_references_is_no_zero(name):
    with pytest.raises(InvalidInput, match="no reference answers"):
        METRICS[name]("red", [])


@pytest.mark.parametrize("metric", CORPUS_METRICS.values())
def test_captions_and_references_are_one_to_one(metric):
    with pytest.raises(InvalidInput, match="2 captions and references of 1 images"):
        metric(["a sign", "a dog"], [["a sign"]])
    with pytest.raises(InvalidInput, match="image 1"):
        metric(["a sign", "a dog"], [["a sign"], []])
    assert metric([], []) == pytest.approx(0.0)


def test_captions_are_tokenized_on_demand():
    raw, references = ["A Red sign!", "two dogs"], [["a red sign ."], ["Two Dogs."]]

    def tokenize(text):
        return [
            word
            for word in text.lower().replace("!", " !").replace(".", " .").split()
            if word not in "!."
        ]

    assert bleu1(raw, references, tokenize=tokenize) == pytest.approx(1.0, abs=1e-6)
    assert rouge_l(raw, references, tokenize=tokenize) == pytest.approx(1.0)
    assert rouge_l(raw, references) < 0.5
    assert cider(raw, references, tokenize=tokenize) > cider(raw, references)


def test_a_corpus_of_one_image_has_no_cider():
    assert cider(["a red sign"], [["a red sign"]]) == 0.0


def test_every_name_is_there_to_import():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
