"""Rows of the table: right versions that are refused, wrong weights that are."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.canaries.scored import NOISY, RIGHT, ScoredVersion, scored_versions
from benchmarks.row import PERCENT, Question, Row
from services.student.canaries import PARENT
from services.student.canary_verdict import NEARER, Strictness

STRICTNESSES = (Strictness.STRICT, Strictness.LENIENT)


def rows(model: str, engine: str) -> list[Row]:
    """Right versions refused, as predicted from those measured; wrong weights refused."""
    versions = scored_versions(model, engine)
    if len(versions) < 2:
        return []
    found = [_false_row(versions, strictness) for strictness in STRICTNESSES]
    return [*found, *_wrong_rows(versions)]


def _false_row(versions: Sequence[ScoredVersion], strictness: Strictness) -> Row:
    verdicts = [each.verdict(RIGHT, strictness) for each in versions]
    sizes = [verdict.size / verdict.limit for verdict in verdicts]
    nearness = [verdict.nearness for verdict in verdicts]
    question = Question(
        name=f"canaries-false-{strictness}-{versions[0].engine}-{versions[0].model}",
        what=f"right versions refused by {strictness} canaries, in bfloat16: predicted "
        f"from {len(versions)}",
        other="-",
        model=versions[0].model,
        engine=versions[0].engine,
        unit="of 1,000",
        at_most=1.0,
    )
    predicted = _beyond(sizes, 1.0) + _beyond(nearness, NEARER)
    return question.counted(
        round(1000 * predicted, 6),
        runs=len(versions),
        refused=sum(not verdict.is_right for verdict in verdicts),
        refused_as_checked=sum(not each.passes for each in versions),
        typical_size=round(statistics.fmean(verdict.size for verdict in verdicts), 3),
        largest_size=round(max(verdict.size for verdict in verdicts), 3),
        largest_of_limit=round(max(sizes), 3),
        largest_nearness=round(max(nearness), 3),
    )


def _beyond(values: Sequence[float], limit: float) -> float:
    """Probability that a next value exceeds a limit, by Student's t: cautious if there are few."""
    count = len(values)
    spread = statistics.stdev(values) * math.sqrt(1 + 1 / count)
    if not spread:
        return 0.0
    return _upper_tail((limit - statistics.fmean(values)) / spread, count - 1)


def _upper_tail(reach: float, freedom: int) -> float:
    """Probability that Student's t exceeds `reach`, with `freedom` degrees of freedom."""
    root = math.sqrt(freedom)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    start, steps = math.atan(reach / root), 10_000
    width = (math.pi / 2 - start) / steps
    middles = (start + (step + 0.5) * width for step in range(steps))
    return scale * width * sum(math.cos(middle) ** (freedom - 1) for middle in middles)


def _wrong_rows(versions: Sequence[ScoredVersion]) -> list[Row]:
    """Share of each kind of wrong weights that strict canaries refuse."""
    kinds: dict[str, list[tuple[ScoredVersion, str]]] = defaultdict(list)
    for version in versions:
        for weights in version.found:
            if weights != RIGHT:
                kinds[_kind(weights)].append((version, weights))
    found = []
    for kind, cases in sorted(kinds.items()):
        strict, lenient = (
            [each.verdict(weights, strictness) for each, weights in cases]
            for strictness in STRICTNESSES
        )
        passing = [
            weights in verdict.untold
            for verdict, (_, weights) in zip(strict, cases, strict=True)
            if verdict.is_right
        ]
        question = Question(
            name=f"canaries-wrong-{kind.replace(' ', '-').replace('%', 'percent')}-"
            f"{versions[0].engine}-{versions[0].model}",
            what=f"wrong weights that strict canaries refuse, in bfloat16: {kind}",
            other="-",
            model=versions[0].model,
            engine=versions[0].engine,
            unit="%",
            at_least=100.0,
        )
        found.append(
            question.counted(
                (len(cases) - len(passing)) * PERCENT / len(cases),
                runs=len(cases),
                refused=len(cases) - len(passing),
                hidden_by_rounding=sum(passing),
                refused_by_lenient=sum(not verdict.is_right for verdict in lenient),
            )
        )
    return found


def _kind(weights: str) -> str:
    if weights in (NOISY, PARENT):
        return weights
    return "one stale layer" if "layer" in weights else f"stale {weights}"
