"""Corpus scores of captions: BLEU-1, ROUGE-L and CIDEr-D of the COCO caption evaluation.

Predictions and references are in the order of the images. With `tokenize` None they are tokens
already, with blanks between them. Each raises InvalidInput if an image has no reference, or if
predictions and references aren't one to one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from services.core.errors import InvalidInput

Tokenize = Callable[[str], Sequence[str]]
"""Splits a caption into words; it may return them as a text with blanks."""

Words = list[str]
Vectors = list[dict[tuple[str, ...], float]]
"""tf-idf by n-gram of one caption, for n = 1 to 4."""

_TINY = 1e-15  # the reference adds these two to avoid a division by zero
_SMALL = 1e-9
_BETA = 1.2
_LONGEST_GRAM = 4
_SIGMA = 6.0


def bleu1(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenize | None = None,
) -> float:
    """Clipped unigram precision of the corpus with the brevity penalty.

    The reference of the closest length counts.
    """
    correct = guessed = wanted = 0
    for given, accepted in _words(predictions, references, tokenize):
        most = Counter[str]()
        for reference in accepted:
            most |= Counter(reference)
        correct += (Counter(given) & most).total()
        guessed += len(given)
        lengths = [len(reference) for reference in accepted]
        wanted += min(lengths, key=lambda length: (abs(length - len(given)), length))
    precision = (correct + _TINY) / (guessed + _SMALL)
    ratio = (guessed + _TINY) / (wanted + _SMALL)
    return precision * math.exp(min(0.0, 1 - 1 / ratio))


def rouge_l(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenize | None = None,
) -> float:
    """Mean over images of F (beta 1.2) from the longest common subsequence.

    Each image takes the best precision and the best recall of its references.
    """
    return _mean(rouge_l_by_image(predictions, references, tokenize=tokenize))


def rouge_l_by_image(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenize | None = None,
) -> list[float]:
    return [
        _rouge_l(given, accepted) for given, accepted in _words(predictions, references, tokenize)
    ]


def _rouge_l(given: Words, accepted: Sequence[Words]) -> float:
    # An empty caption counts as one empty word, like in the reference.
    given = given or [""]
    accepted = [reference or [""] for reference in accepted]
    common = [_longest_common(reference, given) for reference in accepted]
    precision = max(length / len(given) for length in common)
    recall = max(
        length / len(reference) for length, reference in zip(common, accepted, strict=True)
    )
    return (
        (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
        if precision and recall
        else 0.0
    )


def _longest_common(left: Words, right: Words) -> int:
    above = [0] * (len(right) + 1)
    for a in left:
        row = [0]
        for j, b in enumerate(right, 1):
            row.append(above[j - 1] + 1 if a == b else max(above[j], row[-1]))
        above = row
    return above[-1]


def cider(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenize | None = None,
) -> float:
    """CIDEr-D, 0 to 10. Document frequencies are from these references: a single image scores 0."""
    return _mean(cider_by_image(predictions, references, tokenize=tokenize))


def cider_by_image(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenize | None = None,
) -> list[float]:
    corpus = _words(predictions, references, tokenize)
    frequency: Counter[tuple[str, ...]] = Counter()
    for _, accepted in corpus:
        frequency.update({gram for reference in accepted for gram in _grams(reference)})
    images = math.log(max(1, len(corpus)))

    def weigh(words: Words) -> Vectors:
        vectors: Vectors = [{} for _ in range(_LONGEST_GRAM)]
        for gram, count in _grams(words).items():
            vectors[len(gram) - 1][gram] = count * (images - math.log(max(1, frequency[gram])))
        return vectors

    return [_cider(given, accepted, weigh) for given, accepted in corpus]


def _cider(given: Words, accepted: Sequence[Words], weigh: Callable[[Words], Vectors]) -> float:
    vectors = weigh(given)
    score = 0.0
    for reference in accepted:
        # The reference measures a caption's length by its bigrams.
        apart = max(0, len(given) - 1) - max(0, len(reference) - 1)
        alike = sum(map(_clipped_cosine, vectors, weigh(reference)))
        score += alike * math.exp(-(apart**2) / (2 * _SIGMA**2))
    return 10 * score / _LONGEST_GRAM / len(accepted)


def _clipped_cosine(
    given: dict[tuple[str, ...], float], wanted: dict[tuple[str, ...], float]
) -> float:
    dot = sum(
        min(value, wanted[gram]) * wanted[gram] for gram, value in given.items() if gram in wanted
    )
    norms = math.hypot(*given.values()) * math.hypot(*wanted.values())
    return dot / norms if norms else 0.0


def _grams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, _LONGEST_GRAM + 1)
        for start in range(len(words) - n + 1)
    )


def _words(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: Tokenize | None
) -> list[tuple[Words, list[Words]]]:
    if len(predictions) != len(references):
        raise InvalidInput(
            f"there are {len(predictions):,} captions and references of {len(references):,} "
            "images: give one caption per image",
            field="predictions",
        )
    for number, accepted in enumerate(references):
        if not accepted:
            raise InvalidInput(
                f"image {number} (counted from 0) has no reference caption: give one or more",
                field="references",
            )

    def split(text: str) -> Words:
        found = text if tokenize is None else tokenize(text)
        return found.split() if isinstance(found, str) else list(found)

    return [
        (split(given), [split(text) for text in accepted])
        for given, accepted in zip(predictions, references, strict=True)
    ]


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
