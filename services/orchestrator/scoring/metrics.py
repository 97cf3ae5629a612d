"""The score of each answer or caption by any metric, and the figure of the whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS, METRICS, cider_by_image, rouge_l_by_image
from services.orchestrator.scoring.tokens import find_tokenizer

BY_IMAGE = {"cider": cider_by_image, "rouge_l": rouge_l_by_image}


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores by one metric.

    `figure`: the whole set's. `each`: every answer's, () if the metric has none (BLEU).
    `tokenizer`: that of captions.
    """

    metric: str
    figure: float
    each: tuple[float, ...]
    tokenizer: str = ""


def score(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[Scored]:
    """Score by the named metrics. Raises InvalidInput for an unknown metric or no reference."""
    for name in names:
        if name not in METRICS and name not in CORPUS_METRICS:
            raise InvalidInput(
                f"there is no metric {name!r}: "
                f"choose one of {', '.join([*METRICS, *CORPUS_METRICS])}",
                field="metric",
            )
    captions = [name for name in names if name in CORPUS_METRICS]
    by_corpus = _score_captions(captions, predictions, references) if captions else {}
    return [
        by_corpus[name] if name in by_corpus else _score_each(name, predictions, references)
        for name in names
    ]


def _score_each(
    name: str, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Scored:
    metric = METRICS[name]
    each = tuple(
        metric(given, accepted) for given, accepted in zip(predictions, references, strict=True)
    )
    return Scored(name, sum(each) / len(each) if each else 0.0, each)


def _score_captions(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Scored]:
    tokenizer = find_tokenizer()
    tokens = tokenizer.tokenize(
        [*predictions, *(text for accepted in references for text in accepted)]
    )
    given, rest = tokens[: len(predictions)], iter(tokens[len(predictions) :])
    wanted = [[next(rest) for _ in accepted] for accepted in references]
    found = {}
    for name in names:
        each = tuple(BY_IMAGE[name](given, wanted)) if name in BY_IMAGE else ()
        found[name] = Scored(name, CORPUS_METRICS[name](given, wanted), each, tokenizer.name)
    return found
