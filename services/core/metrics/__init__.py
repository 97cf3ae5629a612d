"""Official metrics of the benchmarks in pure Python; tests compare them with the official code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.core.metrics.answers import (
    AnswerMetric,
    anls,
    chartqapro_accuracy,
    contains_accuracy,
    exact_match,
    ignore_case_match,
    relaxed_accuracy,
    vqa_accuracy,
    word_recognition,
    yes_no_accuracy,
    yes_or_no,
)
from services.core.metrics.captions import bleu1, cider, cider_by_image, rouge_l, rouge_l_by_image
from services.core.metrics.normalization import normalize_vqa_answer, squeeze

__all__ = [
    "CORPUS_METRICS",
    "METRICS",
    "AnswerMetric",
    "anls",
    "bleu1",
    "chartqapro_accuracy",
    "cider",
    "cider_by_image",
    "contains_accuracy",
    "exact_match",
    "ignore_case_match",
    "normalize_vqa_answer",
    "relaxed_accuracy",
    "rouge_l",
    "rouge_l_by_image",
    "squeeze",
    "vqa_accuracy",
    "word_recognition",
    "yes_no_accuracy",
    "yes_or_no",
]

METRICS: dict[str, AnswerMetric] = {
    metric.__name__: metric
    for metric in (
        vqa_accuracy,
        exact_match,
        relaxed_accuracy,
        chartqapro_accuracy,
        anls,
        word_recognition,
        ignore_case_match,
        yes_no_accuracy,
        contains_accuracy,
    )
}
"""Metrics of one answer, by name."""

CORPUS_METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], float]] = {
    "bleu1": bleu1,
    "rouge_l": rouge_l,
    "cider": cider,
}
"""Metrics of all captions of a set, which are tokenized already, by name."""
