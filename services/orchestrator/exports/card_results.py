"""Part of a model card: gains with paired intervals, guard sets, and results for the hub."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.core.evaluation import Comparison, GuardResult, Tally
from services.core.intervals import Interval, paired_difference
from services.core.noninferiority import ScorePair, paired_gain
from services.orchestrator.exports.markdown import cell, scalar, table
from services.orchestrator.run.ledger.scores import scores
from services.orchestrator.run.run import Run

METHOD = """\
Gains are after minus before on the same questions, in points, with paired intervals of 95 %: the
wider one, on each side, of the score interval (Tango, 1998) and of the bootstrap over images. Each
interval stands for itself: of twenty, one is expected to miss.
"""


@dataclass(frozen=True, slots=True)
class Gains:
    """Gain of a version over its parent on a set of questions, -1 to 1, and by kind of question."""

    overall: Interval
    kinds: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """A result for the hub. `kind`: held_out, labelled or guard; `name` is foreign text."""

    kind: str
    name: str
    after: float
    gain: Interval


def read_gains(run: Run, question_set: str, compared: Comparison) -> Gains:
    """Gains on a set that both versions have answered, from the scores in the ledger.

    Without scores, as in ledgers of earlier releases, from the counts: questions about one image
    then count as independent.
    """
    state = run.state
    if state.base is None or state.candidate is None:
        return gains_of_counts(compared)
    before = {
        (row.image_sha256, row.question): row.score
        for row in scores(run.ledger, question_set, "before", state.base.name)
    }
    by_kind: dict[str, list[ScorePair]] = defaultdict(list)
    for row in scores(run.ledger, question_set, "after", state.candidate.name):
        asked = (row.image_sha256, row.question)
        if asked in before:
            pair = ScorePair(row.image_sha256, row.kind, row.score, before[asked])
            by_kind[row.kind].append(pair)
    every = [pair for pairs in by_kind.values() for pair in pairs]
    if len(every) != compared.overall.questions:
        return gains_of_counts(compared)
    kinds = {kind: paired_gain(pairs) for kind, pairs in by_kind.items()}
    return Gains(paired_gain(every), kinds)


def gains_of_counts(compared: Comparison) -> Gains:
    """Gains from the questions that were fixed and broken."""
    kinds = {kind: _of_counts(tally) for kind, tally in compared.kinds.items()}
    return Gains(_of_counts(compared.overall), kinds)


def _of_counts(tally: Tally) -> Interval:
    return paired_difference(tally.fixed, tally.broken, tally.questions)


def in_points(gain: Interval) -> str:
    """A gain and its interval for people."""
    low, high = 100 * gain.low, 100 * gain.high
    return f"{100 * gain.expected:+.1f} ({low:+.1f} to {high:+.1f})"


def guard_table(guards: Sequence[GuardResult], names: Sequence[str]) -> str:
    """Results on guard sets, by the `names` that are published; a sentence without any."""
    if not guards:
        return "No guard set was named: nobody has measured what the training cost elsewhere."
    headings = ("guard set", "questions", "before", "after", "gain", "tolerance", "kept")
    rows: list[tuple[str, ...]] = [
        (
            cell(name),
            f"{guard.found.questions:,}" + (f" ({guard.skipped:,} skipped)" * bool(guard.skipped)),
            f"{guard.found.old:.1%}",
            f"{guard.found.new:.1%}",
            in_points(guard.found.difference),
            f"{100 * guard.found.margin:g}",
            str(guard.found.conclusion),
        )
        for name, guard in zip(names, guards, strict=True)
    ]
    return (
        "Ability outside the task that the training must not cost. A set is kept if the whole "
        "interval of its gain is above minus the tolerance, in points.\n\n" + table(headings, rows)
    )


def model_index(version: str, sets: Sequence[MeasuredSet]) -> Iterator[str]:
    """Lines of the YAML header: results in the form of the hub's `model-index`."""
    if not sets:
        return
    yield "model-index:"
    yield f"- name: {scalar(version)}"
    yield "  results:"
    for measured in sets:
        yield "  - task:"
        yield "      type: visual-question-answering"
        yield "    dataset:"
        yield f"      type: {measured.kind}"
        yield f"      name: {scalar(measured.name)}"
        yield "    metrics:"
        yield "    - type: accuracy"
        yield f"      value: {measured.after:.4f}"
        yield "    - type: accuracy_gain"
        yield "      name: gain over the parent version, paired 95 % interval"
        yield f"      value: {measured.gain.expected:.4f}"
        yield "      args:"
        yield f"        low: {measured.gain.low:.4f}"
        yield f"        high: {measured.gain.high:.4f}"
