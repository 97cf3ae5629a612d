"""Comparison of the candidate with the live student on the same questions, and the decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.core.intervals import format_p, mcnemar_p
from services.core.noninferiority import Conclusion, NonInferiority


@dataclass(frozen=True, slots=True)
class Judgement:
    """One question scored for both versions, 0 to 1 each."""

    kind: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Totals of a set of questions, with mean scores. A score of .5 or more is right.

    `fixed`: wrong before, right after; `broken`: the reverse.
    """

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


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, and why (a sentence for people)."""

    promote: bool
    reason: str


@dataclass(frozen=True, slots=True)
class GuardResult:
    """Candidate (new) against live (old) on the labelled set at `path`, which must not suffer.

    `skipped`: questions that could not be asked. `sha256`: of the file's content; "" if unknown.
    """

    path: str
    found: NonInferiority
    skipped: int = 0
    sha256: str = ""


KIND_TOLERANCE = 0.01
"""Share of a kind's questions that may be lost on balance."""


def should_promote(
    comparison: Comparison, significance: float = 0.05, guards: Sequence[GuardResult] = ()
) -> Decision:
    """Promote a candidate that fixes more than it breaks, beyond chance, overall and in each kind.

    A kind with 100 questions or more may lose one in 100 on balance: every training changes some
    answers. Each guard set must show that its loss is within the tolerance: the whole 95 % interval
    of the difference is above minus the tolerance. A set that is too small to show it refuses, too.
    """
    overall = comparison.overall
    changed = f"{overall.fixed} fixed, {overall.broken} broken"
    if overall.questions == 0:
        return Decision(False, "there are no held-out questions to judge the candidate by")
    if overall.after <= overall.before or overall.fixed <= overall.broken:
        return Decision(
            False,
            f"not better on {overall.questions} held-out questions: {overall.before:.1%} before, "
            f"{overall.after:.1%} after ({changed})",
        )
    for kind, tally in comparison.kinds.items():
        if tally.broken - tally.fixed > KIND_TOLERANCE * tally.questions:
            return Decision(
                False,
                f'the candidate breaks more questions of the kind "{kind}" than it fixes: '
                f"{tally.fixed} fixed, {tally.broken} broken of {tally.questions}",
            )
    for guard in guards:
        if guard.found.conclusion is not Conclusion.YES:
            return Decision(False, _lost(guard))
    p = format_p(comparison.mcnemar_p)
    if comparison.mcnemar_p >= significance:
        return Decision(
            False,
            f"the gain may be chance: {overall.fixed} fixed and {overall.broken} broken on "
            f"{overall.questions} held-out questions, McNemar p {p}",
        )
    return Decision(
        True,
        f"{overall.before:.1%} before, {overall.after:.1%} after on {overall.questions} held-out "
        f"questions ({changed}, McNemar p {p}){_kept(guards)}",
    )


def _kept(guards: Sequence[GuardResult]) -> str:
    if not guards:
        return ""
    sets = "1 guard set" if len(guards) == 1 else f"{len(guards)} guard sets"
    return f"; {sets} kept within {_points(guards[0].found.margin)}"


def _points(share: float) -> str:
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def _lost(guard: GuardResult) -> str:
    found = guard.found
    points = _points(found.margin)
    measured = (
        f"{found.old:.1%} before, {found.new:.1%} after on {found.questions} questions, 95 % "
        f"interval of the difference {100 * found.difference.low:+.1f} to "
        f"{100 * found.difference.high:+.1f} points"
    )
    if found.conclusion is Conclusion.NO:
        return f"the guard set {guard.path} loses more than {points}: {measured}"
    more = f"about {found.more:,} more questions" if found.more else "another guard set"
    return (
        f"the guard set {guard.path} may lose more than {points}: {measured}; {more} or a larger "
        "--guard-tolerance would decide (in `mpa-orch evaluate` before the round is decided; then "
        "`mpa-orch promote --force`)"
    )
