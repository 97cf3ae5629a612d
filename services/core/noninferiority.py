"""Non-inferiority: whether one model answers no worse than another, but for a stated margin."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.core.errors import InvalidInput
from services.core.intervals import Interval, paired, paired_difference

POWER = 0.8
"""Probability of a decision that the further questions are counted for."""
SMALLEST_KIND = 10
"""Kinds with fewer questions are compared together, as OTHER."""
OTHER = "other"
EQUAL = 1e-12
"""Sum of squared differences of changes that are all the same, but for rounding."""
BOOTSTRAPPED = 1000
"""Most images that are drawn again; the means of more are normal."""


class Conclusion(StrEnum):
    """Whether the new model is no worse than the old one, but for the margin."""

    YES = "yes"
    """The whole interval of the difference is above minus the margin."""
    NO = "no"
    """The whole interval is below it."""
    OPEN = "not enough evidence"
    """Minus the margin is within the interval."""


@dataclass(frozen=True, slots=True)
class ScorePair:
    """One question answered by both models, scored 0 to 1 each. `image`: its image.

    `is_alike`: whether both gave the same answer, right or wrong.
    """

    image: str
    kind: str
    new: float
    old: float
    is_alike: bool = False


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Two models on the same questions.

    `new` and `old` are their mean scores, `difference` is the new one's minus the old one's.
    `agreement`: share of the questions that both answer alike. All are 0 to 1.
    """

    questions: int
    new: float
    old: float
    difference: Interval
    margin: float
    conclusion: Conclusion
    agreement: float
    more: int | None
    """Further questions that would probably decide; None if it is decided, or no number would."""


@dataclass(frozen=True, slots=True)
class NonInferiorityByKind:
    """`overall` and each kind, with the levels of their intervals (0 to 1)."""

    overall: NonInferiority
    kinds: Mapping[str, NonInferiority] = field(default_factory=dict)
    level: float = 0.95
    kind_level: float = 0.95


def require_margin(margin: float, option: str) -> float:
    """A margin in points as a share. Raises InvalidInput unless it is above 0 and below 100."""
    if not 0 < margin < 100:
        raise InvalidInput(
            f"{option} is {margin:g}: give points above 0 and below 100, such as 5", field=option
        )
    return margin / 100


def paired_gain(pairs: Sequence[ScorePair], *, level: float = 0.95) -> Interval:
    """The new model's mean score minus the old one's, with its two-sided interval.

    It is the wider one, on each side, of two intervals: of the score interval of paired shares,
    which holds for few questions, its counts divided by `design_effect`; and of the paired
    bootstrap over images. Both know that questions of an image belong together; the bootstrap
    alone is too narrow with few images.
    """
    count = len(pairs)
    changes = [pair.new - pair.old for pair in pairs]
    images = [pair.image for pair in pairs]
    effect = design_effect(changes, images)
    by_score = paired_difference(
        sum(change for change in changes if change > 0) / effect,
        -sum(change for change in changes if change < 0) / effect,
        count / effect,
        level=level,
    )
    by_image = _over_images(changes, images, level)
    return Interval(
        by_score.expected, min(by_score.low, by_image.low), max(by_score.high, by_image.high)
    )


def compare_pairs(
    pairs: Sequence[ScorePair], margin: float, *, level: float = 0.95
) -> NonInferiority:
    """Compare the models on these questions. `margin`: 0 to 1.

    The interval is that of `paired_gain`. Against one side its error is half as large: 2.5 % at the
    level of 95 %, as is usual for non-inferiority (ICH E9, section 3.3.2).
    """
    count = len(pairs)
    found = paired_gain(pairs, level=level)
    effect = design_effect([pair.new - pair.old for pair in pairs], [pair.image for pair in pairs])
    conclusion = _conclude(found, margin)

    def mean(values: Iterable[float]) -> float:
        return sum(values) / count if count else 0.0

    return NonInferiority(
        questions=count,
        new=mean(pair.new for pair in pairs),
        old=mean(pair.old for pair in pairs),
        difference=found,
        margin=margin,
        conclusion=conclusion,
        agreement=mean(pair.is_alike for pair in pairs),
        more=further_questions(found, count, margin, level, effect)
        if conclusion is Conclusion.OPEN
        else None,
    )


def compare_kinds(pairs: Sequence[ScorePair], margin: float) -> NonInferiorityByKind:
    """Compare in all, and for each kind of question.

    The intervals of N kinds have the level 1 - 0.05 / N (Bonferroni): all of them hold together
    with 95 %, so that no kind is released by being one of many.
    """
    sizes = Counter(pair.kind for pair in pairs)
    by_kind: dict[str, list[ScorePair]] = defaultdict(list)
    for pair in pairs:
        by_kind[pair.kind if sizes[pair.kind] >= SMALLEST_KIND else OTHER].append(pair)
    level = 1 - 0.05 / max(1, len(by_kind))
    return NonInferiorityByKind(
        compare_pairs(pairs, margin),
        {
            kind: compare_pairs(of_kind, margin, level=level)
            for kind, of_kind in sorted(by_kind.items())
        },
        kind_level=level,
    )


def design_effect(changes: Sequence[float], images: Sequence[str]) -> float:
    """Number of questions that count as one, since those about an image belong together.

    The variance of the mean change by images over that of single questions (Kish, Survey Sampling,
    1965, section 5.4), at least 1 and at most that of images whose questions all change alike. It
    is this most if all changes are equal: then nothing shows that an image's questions differ.
    """
    if not changes:
        return 1.0
    mean = statistics.fmean(changes)
    counts = Counter(images)
    sums: dict[str, float] = defaultdict(float)
    for change, image in zip(changes, images, strict=True):
        sums[image] += change
    single = sum((change - mean) ** 2 for change in changes)
    by_image = sum((sums[image] - mean * counts[image]) ** 2 for image in counts)
    most = sum(size * size for size in counts.values()) / len(changes)
    return most if single < EQUAL else min(most, max(1.0, by_image / single))


def further_questions(
    found: Interval, questions: int, margin: float, level: float = 0.95, effect: float = 1.0
) -> int | None:
    """Number of further questions that decide with a probability of 80 %.

    `effect`: how many questions count as one, as now (`design_effect`). If no answer has changed,
    the score interval ends at z^2 / (n + z^2) for n questions, and n that is above
    z^2 * (1 / m - 1) decides for a margin of m. Otherwise:

    It holds if the true difference d is the measured one. With margin m, the standard error s of n
    questions and their standard deviation s * sqrt(n), the number needed is
    n * ((z_level + z_power) * s / (d + m))^2: the sample size of a non-inferiority test of one mean
    (Chow, Shao and Wang, Sample Size Calculations in Clinical Research, 2nd edition, 2008, section
    3.1), here the mean of paired differences. `s` is the width of the interval over 2 z_level: it
    knows that questions of one image are alike. None without questions, or if d is minus the
    margin: then no number would decide.
    """
    away = abs(found.expected + margin)
    if not questions or away < 1e-9:
        return None
    normal = statistics.NormalDist()
    z = normal.inv_cdf((1 + level) / 2)
    unchanged = z * z / (questions / effect + z * z)
    if all(abs(end - unchanged) < 1e-9 for end in (-found.low, found.high)):
        return max(1, math.floor(effect * z * z * (1 / margin - 1)) + 1 - questions)
    error = (found.high - found.low) / (2 * z)
    needed = questions * ((z + normal.inv_cdf(POWER)) * error / away) ** 2
    return max(1, math.ceil(needed) - questions)


def _conclude(found: Interval, margin: float) -> Conclusion:
    if found.low > -margin:
        return Conclusion.YES
    return Conclusion.NO if found.high < -margin else Conclusion.OPEN


def _over_images(changes: Sequence[float], images: Sequence[str], level: float) -> Interval:
    """Interval of the mean over images: by drawing them again, or by their variance if many."""
    if not changes:
        return Interval(0.0, -1.0, 1.0)
    sums: dict[str, float] = defaultdict(float)
    counts = Counter(images)
    for change, image in zip(changes, images, strict=True):
        sums[image] += change
    if len(sums) <= BOOTSTRAPPED:
        return paired([changes], images, level=level).interval
    mean = sum(changes) / len(changes)
    spread = math.sqrt(sum((sums[image] - mean * counts[image]) ** 2 for image in sums))
    half = statistics.NormalDist().inv_cdf((1 + level) / 2) * spread / len(changes)
    return Interval(mean, mean - half, mean + half)
