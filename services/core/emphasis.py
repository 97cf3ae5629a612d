"""Emphasis: how often a training meets each sample, in as many steps as if it met each equally.

Gap samples are met R times as often as known ones. In each of the two, a kind of question gets a
share in proportion to the square root of its number: rare kinds are met more often. No sample is
met more than three times a pass; the rest goes to the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from services.core.parity import Cell, Sample
from services.core.questions import question_kind

MOST_MEETINGS = 3.0
"""Most meetings of one sample in a pass, mean of all passes: they are trained as one."""
_ROUNDING = 1e-9

Stratum = tuple[bool, str]
"""Samples alike: are they of the gap, and their kind of question."""


def emphasize(samples: Sequence[Sample], ratio: float, passes: int) -> list[Sample]:
    """The meetings of `passes` passes, as many as each sample once a pass.

    A sample's number of meetings is its expectation, rounded up or down. Which ones are rounded up
    depends on the order of `samples`; each stratum gets its number.
    """
    rates = meetings(samples, ratio)
    found: list[Sample] = []
    expected = 0.0
    for sample in sorted(samples, key=_stratum):
        expected += passes * rates[_stratum(sample)]
        found += [sample] * (math.floor(expected + _ROUNDING) - len(found))
    return found


def meetings(samples: Sequence[Sample], ratio: float) -> dict[Stratum, float]:
    """Meetings of a sample in a pass, by stratum; the mean of all samples is 1."""
    sizes = Counter(map(_stratum, samples))
    gap = sum(size for (is_gap, _), size in sizes.items() if is_gap)
    known = len(samples) - gap
    most_gap, most_known = MOST_MEETINGS * gap, MOST_MEETINGS * known
    wanted = len(samples) * ratio * gap / max(1.0, ratio * gap + known)
    of_gap = max(min(wanted, most_gap), len(samples) - most_known)
    totals = {True: of_gap, False: len(samples) - of_gap}
    found: dict[Stratum, float] = {}
    for is_gap, total in totals.items():
        found |= _fill(total, {key: size for key, size in sizes.items() if key[0] is is_gap})
    return found


def _fill(total: float, sizes: Mapping[Stratum, int]) -> dict[Stratum, float]:
    """Divide meetings among strata by the square root of their sizes; meetings of one sample."""
    found: dict[Stratum, float] = {}
    left = dict(sizes)
    while left:
        scale = total / sum(map(math.sqrt, left.values()))
        rates = {key: scale / math.sqrt(size) for key, size in left.items()}
        full = [key for key, rate in rates.items() if rate > MOST_MEETINGS]
        if not full:
            return found | rates
        for key in full:
            found[key] = MOST_MEETINGS
            total -= MOST_MEETINGS * left.pop(key)
    return found


def _stratum(sample: Sample) -> Stratum:
    return sample.cell is Cell.GAP, question_kind(sample.question)
