"""Every metric against scores that the official implementations gave (metric_vectors.jsonl)."""

import json
from pathlib import Path

import pytest

from services.core.answers import MATCHERS
from services.core.metrics import METRICS, normalize_vqa_answer, vqa_accuracy

VECTORS = [json.loads(line) for line in (Path(__file__).parent / "metric_vectors.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_the_official_scores(name):
    rows = [row for row in VECTORS if row["metric"] == name]
    assert len(rows) > 100
    wrong = [row for row in rows if abs(METRICS[name](row["prediction"], row["references"]) - row["score"]) > 1e-6]
    assert wrong == []


def test_normalizes_as_the_vqa_challenge_does():
    rows = [row for row in VECTORS if row["metric"] == "normalize_vqa_answer"]
    assert len(rows) > 100
    assert [row for row in rows if normalize_vqa_answer(row["prediction"]) != row["expected"]] == []


def test_contains_matcher_selects_what_the_authors_select():
    rows = [row for row in VECTORS if row["metric"] == "authors_gap"]
    contains = MATCHERS["contains"]
    selected = [
        contains.matches(row["teacher"], row["references"][0]) and not contains.matches(row["prediction"], row["references"][0])
        for row in rows
    ]
    assert selected == [bool(row["score"]) for row in rows]


@pytest.mark.parametrize(("agreeing", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_annotators(agreeing, score):
    assert vqa_accuracy("red", ["red"] * agreeing + ["blue"] * (10 - agreeing)) == pytest.approx(score)
