"""Is the candidate better than the live student? Paired comparison, what was fixed and broken, and the decision."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_YES_NO = frozenset(
    "is are was were am do does did has have had can could will would shall should may might must isn't aren't wasn't "
    "weren't doesn't don't didn't".split()
)
_ATTRIBUTE_OF = re.compile(r"(what|which) (?:is|are|was|were) the (\w+) of\b")


@lru_cache(maxsize=4096)
def question_kind(question: str) -> str:
    """The kind of a question: "yes/no", or how it opens ("how many", "what color"; "what is the color of" is "what color")."""
    words = re.findall(r"[\w']+", question.lower())
    if not words:
        return "other"
    if words[0] in _YES_NO:
        return "yes/no"
    if attribute := _ATTRIBUTE_OF.match(" ".join(words)):
        return " ".join(attribute.groups())
    return " ".join(words[:2])


@dataclass(frozen=True, slots=True)
class Judgement:
    """One question scored for both versions, 0 to 1 each."""

    kind: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How one set of questions fared. `fixed`: wrong before, right after; `broken`: the reverse. Right: a score from .5."""

    questions: int = 0
    before: float = 0.0
    after: float = 0.0
    fixed: int = 0
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against live on the same questions. Accuracies 0 to 1."""

    overall: Tally
    kinds: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def mcnemar_p(self) -> float:
        return mcnemar_p(self.overall.fixed, self.overall.broken)


def _tally(judgements: Iterable[Judgement]) -> Tally:
    rows = list(judgements)
    if not rows:
        return Tally()
    return Tally(
        questions=len(rows),
        before=sum(row.before for row in rows) / len(rows),
        after=sum(row.after for row in rows) / len(rows),
        fixed=sum(row.before < 0.5 <= row.after for row in rows),
        broken=sum(row.after < 0.5 <= row.before for row in rows),
    )


def compare(judgements: Iterable[Judgement]) -> Comparison:
    """Overall and by kind of question."""
    rows = list(judgements)
    by_kind: dict[str, list[Judgement]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    return Comparison(
        _tally(rows), {kind: _tally(of_kind) for kind, of_kind in sorted(by_kind.items())}
    )


def mcnemar_p(fixed: int, broken: int) -> float:
    """Two-sided exact McNemar test: how likely so uneven a split of the changed answers is if both versions were as good."""
    changed = fixed + broken
    if changed == 0:
        return 1.0
    tail, ways = 0, 1  # ways: changed choose k, exactly
    for k in range(min(fixed, broken) + 1):
        tail += ways
        ways = ways * (changed - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**changed))


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


RESAMPLES = 2000


def bootstrap(
    scores: Iterable[tuple[str, float]], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile interval of the mean of (group, score). Groups are drawn, not scores: questions about one image go together.

    Of differences of two models it is the paired interval.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for group, score in scores:
        groups[group].append(score)
    sums = [(sum(of_group), len(of_group)) for of_group in groups.values()]
    if not sums:
        return Interval(0.0, 0.0)
    draw = random.Random(seed)
    means = sorted(_mean_of(draw.choices(sums, k=len(sums))) for _ in range(RESAMPLES))
    edge = round((1 - level) / 2 * RESAMPLES)
    return Interval(means[edge], means[-edge - 1])


def _mean_of(sums: Iterable[tuple[float, int]]) -> float:
    totals, counts = zip(*sums, strict=True)
    return float(sum(totals) / sum(counts))


def format_p(p: float) -> str:
    """A p-value for people: "= 0.03", or "< 1e-99" where more digits say nothing."""
    return f"= {p:.2g}" if p >= 1e-99 else "< 1e-99"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, and why (a sentence for people)."""

    promote: bool
    reason: str


KIND_TOLERANCE = 0.01
"""Share of a kind's questions."""


def should_promote(comparison: Comparison, significance: float = 0.05) -> Decision:
    """Promote what fixes more than it breaks, beyond chance, and breaks more than it fixes in no kind of question.

    Of a kind with a hundred questions and more, one net loss in a hundred is let pass: no training leaves all answers alone.
    """
    overall = comparison.overall
    if overall.questions == 0:
        return Decision(False, "there is nothing held out to judge it on")
    if overall.after <= overall.before or overall.fixed <= overall.broken:
        return Decision(
            False,
            f"it is not better on {overall.questions} held-out questions: {overall.before:.1%} before, {overall.after:.1%} "
            f"after ({overall.fixed} fixed, {overall.broken} broken)",
        )
    for kind, tally in comparison.kinds.items():
        if tally.broken - tally.fixed > KIND_TOLERANCE * tally.questions:
            return Decision(
                False,
                f'it breaks more than it fixes in questions of the kind "{kind}": {tally.fixed} fixed, {tally.broken} broken '
                f"of {tally.questions}",
            )
    if comparison.mcnemar_p >= significance:
        return Decision(
            False,
            f"its gain may be chance: {overall.fixed} fixed and {overall.broken} broken on {overall.questions} held-out "
            f"questions, McNemar p {format_p(comparison.mcnemar_p)}",
        )
    return Decision(
        True,
        f"{overall.before:.1%} before, {overall.after:.1%} after on {overall.questions} held-out questions "
        f"({overall.fixed} fixed, {overall.broken} broken, McNemar p {format_p(comparison.mcnemar_p)})",
    )
