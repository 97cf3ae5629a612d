"""Model card of a version: README.md in the form that the hub reads, YAML header and Markdown.

The orchestrator writes it when a version is promoted, since only then everything is known, and the
student keeps it with the version (docs/decisions/model-cards.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from services.core.evaluation import Comparison, Tally
from services.core.intervals import Interval, format_p, wilson
from services.core.presets import PRESETS
from services.orchestrator.exports.card_results import (
    METHOD,
    Gains,
    MeasuredSet,
    gains_of_counts,
    guard_table,
    in_points,
    model_index,
    read_gains,
)
from services.orchestrator.exports.card_usage import usage
from services.orchestrator.exports.markdown import block, cell, code, scalar, table
from services.orchestrator.run.evaluation import Accuracy, Labelled, RunEvaluation
from services.orchestrator.run.ledger.scores import HELD_OUT as HELD_OUT_SET
from services.orchestrator.run.run import Run
from services.orchestrator.run.summary import Summary, summarise
from services.rpc.client import StudentVersion

HELD_OUT = "held-out records, labelled by the teacher"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_LICENCES = ("apache-2.0", "mit")
"""Licences by the names of the hub; any other one is "other"."""
_WEAKEST = 10
"""Most kinds of questions in the list of the weakest."""

INTRODUCTION = """\
A small vision-language model (the student) that answers questions about images. It was trained on
questions that it could not answer itself and that a large model (the teacher) could. The teacher
also wrote these questions: no person has labelled the training data, and agreement with the teacher
is not truth.
"""
DATA = """\
The images are under their own licence, which this run does not know, and the terms of the teacher
may bind its texts: check both before you publish this model.
"""
UNKNOWN = """\
No evaluation is recorded for this version: it is a first version, or it was never promoted after a
run.
"""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything about the run that made a version."""

    summary: Summary
    evaluation: RunEvaluation | None
    teachers: tuple[str, ...]
    """Fingerprints."""
    reason: str
    """Reason of the promotion, for people."""
    held_out: Gains | None = None
    labelled: Gains | None = None
    """Gains on the sets of the evaluation; None: from its counts."""


def card_of_run(run: Run, version: StudentVersion, reason: str) -> str:
    """The card of the version that `run` has made. It reads the whole ledger."""
    state = run.state
    found = state.evaluation
    labelled = found.labelled if found else None
    facts = CardFacts(
        summary=summarise(run.ledger),
        evaluation=found,
        teachers=tuple(state.teachers),
        reason=reason,
        held_out=read_gains(run, HELD_OUT_SET, found.held_out) if found else None,
        labelled=read_gains(run, labelled.path, labelled.comparison) if labelled else None,
    )
    return model_card(version, facts)


def model_card(version: StudentVersion, facts: CardFacts | None = None) -> str:
    """The card of a version; without `facts`, as far as its manifest tells."""
    title = f"# Student {code(version.name)}\n"
    parts = [_header(version, facts), title, INTRODUCTION, _origin(version, facts)]
    if facts is None:
        parts.append(f"## Results\n\n{UNKNOWN}")
    else:
        parts += [_data(facts), _recipe(facts), _results(facts)]
        if found := facts.evaluation:
            names = [_source(guard.path) for guard in found.guards]
            parts.append(_section("Guard sets", guard_table(found.guards, names)))
        parts.append(_weaknesses(facts))
    return "\n".join([*parts, usage(version.contract)])


def _header(version: StudentVersion, facts: CardFacts | None) -> str:
    hub_id = version.model.partition("@")[0]
    lines = ["---"]
    if _HUB_ID.fullmatch(hub_id):
        lines += [f"base_model: {scalar(hub_id)}", "base_model_relation: finetune"]
        licence = next((each.licence for each in PRESETS.values() if each.hub_id == hub_id), "")
        lines += _licence(licence)
    lines += ["pipeline_tag: image-text-to-text", "library_name: transformers"]
    lines += ["tags:", "- visual-question-answering", "- distillation"]
    if facts:
        lines.append(f"- {scalar(facts.summary.settings.task)}")
        lines += model_index(version.name, _measured(facts))
    return "\n".join([*lines, "---\n"])


def _measured(facts: CardFacts) -> list[MeasuredSet]:
    found = facts.evaluation
    if found is None:
        return []
    gains = _held_out_gains(facts, found).overall
    overall = found.held_out.overall
    sets = [MeasuredSet("held_out", HELD_OUT, overall.after, gains)] if overall.questions else []
    if labelled := found.labelled:
        gains = _labelled_gains(facts, labelled).overall
        after = labelled.comparison.overall.after
        sets.append(MeasuredSet("labelled", _source(labelled.path), after, gains))
    for guard in found.guards:
        name, measured = _source(guard.path), guard.found
        sets.append(MeasuredSet("guard", name, measured.new, measured.difference))
    return sets


def _held_out_gains(facts: CardFacts, found: RunEvaluation) -> Gains:
    return facts.held_out or gains_of_counts(found.held_out)


def _labelled_gains(facts: CardFacts, labelled: Labelled) -> Gains:
    return facts.labelled or gains_of_counts(labelled.comparison)


def _licence(licence: str) -> list[str]:
    if not licence:
        return []
    if licence.lower() in _LICENCES:
        return [f"license: {licence.lower()}"]
    return ["license: other", f"license_name: {scalar(licence)}"]


def _origin(version: StudentVersion, facts: CardFacts | None) -> str:
    rows = {
        "published model": cell(version.model) or "not recorded",
        "parent version": cell(version.parent) or "none: it is the first one",
        "made": cell(f"{version.created_at} UTC") if version.created_at else "not recorded",
        "SHA-256 of the weights": cell(version.weights_sha256),
    }
    if version.adapter_of:
        rows["form"] = f"an adapter of {cell(version.adapter_of)}, merged into its weights here"
    if facts:
        rows["teachers (fingerprints)"] = ", ".join(map(cell, facts.teachers)) or "not recorded"
        rows["run"] = cell(facts.summary.run)
        rows["promoted"] = cell(facts.reason)
    return _section("Origin", table(("", ""), list(rows.items())))


def _data(facts: CardFacts) -> str:
    summary, settings = facts.summary, facts.summary.settings
    used = summary.images - summary.image_files.held_out
    rows = {
        "source of the images": cell(_source(settings.images)),
        "images": f"{summary.images:,}, of which {summary.image_files.held_out:,} were held out",
        "questions by the teacher": f"{summary.annotations:,}, "
        f"and {sum(summary.rejected.values()):,} rejected ones",
        "cells": ", ".join(f"{name} {count:,}" for name, count in summary.cells.items()),
        "training samples": f"{summary.parity_set:,}, from {used:,} images at most",
        "users' requests": _counted(summary.audited) or "none",
    }
    if summary.label_noise and (noise := summary.label_noise.noise):
        share = percent(Interval(noise.share, noise.low, noise.high))
        rows["label noise"] = (
            f"{share}: labels that the teacher contradicts when asked again, of {noise.of:,}"
        )
    if leak := summary.image_files.leak:
        rows["images of evaluation sets"] = f"{cell(leak)}; {summary.image_files.leaks_used:,} used"
    return _section("Training data", table(("", ""), list(rows.items())) + "\n\n" + DATA)


def _source(images: str) -> str:
    """The last part of a path or URL: the rest is about the machine of the run."""
    return PurePosixPath(images.partition("?")[0]).name or images.partition(":")[0]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{cell(name)} {count:,}" for name, count in counts.items())


def _recipe(facts: CardFacts) -> str:
    settings = facts.summary.settings
    chosen = {
        "task": settings.task,
        "matcher": settings.matcher,
        "student_matcher": settings.student_matcher or settings.matcher,
        "seed": settings.seed,
        "lora_rank": settings.lora_rank,
        "max_pixels": settings.max_pixels,
        "recipe": asdict(settings.recipe),
    }
    return _section("Recipe", block(json.dumps(chosen, indent=2), "json"))


def _results(facts: CardFacts) -> str:
    found = facts.evaluation
    if found is None:
        return _section("Results", UNKNOWN)
    rows = [_result(HELD_OUT, found.held_out, _held_out_gains(facts, found))]
    teacher = ""
    if found.labelled is not None:
        labelled = found.labelled
        gains = _labelled_gains(facts, labelled)
        rows.insert(0, _result(cell(_source(labelled.path)), labelled.comparison, gains))
        count = labelled.comparison.overall.questions
        teacher = f"\n\nThe teacher: {_share(labelled.teacher.accuracy, count)} on the first set."
    headings = (
        "measured on", "questions", "before", "after", "gain", "fixed", "broken", "McNemar p"
    )  # fmt: skip
    note = (
        "\n\nShares of right answers with intervals of 95 % (Wilson). Before: the parent version. "
        + METHOD.rstrip()
    )
    return _section("Results", table(headings, rows) + note + teacher)


def _result(name: str, comparison: Comparison, gains: Gains) -> tuple[str, ...]:
    figures = _tally(comparison.overall, gains.overall)
    return (name, *figures, cell(format_p(comparison.mcnemar_p)))


def _tally(tally: Tally, gain: Interval) -> tuple[str, ...]:
    shares = (_share(tally.before, tally.questions), _share(tally.after, tally.questions))
    changed = (f"{tally.fixed:,}", f"{tally.broken:,}")
    return (f"{tally.questions:,}", *shares, in_points(gain), *changed)


def _share(accuracy: float, questions: int) -> str:
    return percent(wilson(accuracy * questions, questions))


def percent(share: Interval) -> str:
    """A share and its interval for people."""
    return f"{share.expected:.1%} ({share.low:.1%} to {share.high:.1%})"


def _weaknesses(facts: CardFacts) -> str:
    found = facts.evaluation
    if found is None:
        return _section("Known weaknesses", UNKNOWN)
    labelled = found.labelled
    kinds = labelled.comparison.kinds if labelled else found.held_out.kinds
    gains = _labelled_gains(facts, labelled) if labelled else _held_out_gains(facts, found)
    teacher = labelled.teacher if labelled else None
    weakest = sorted(kinds.items(), key=lambda each: (each[1].after, -each[1].questions, each[0]))
    rows = [
        _weakness(kind, tally, gains.kinds[kind], teacher) for kind, tally in weakest[:_WEAKEST]
    ]
    if not rows:
        return _section("Known weaknesses", "Kinds of questions were not told apart.")
    worse = [kind for kind, tally in kinds.items() if tally.broken > tally.fixed]
    lost = ", ".join(map(code, worse[:_WEAKEST])) or "none"
    headings = ("kind", "questions", "before", "after", "gain", "fixed", "broken", "teacher")
    begin = "Kinds of questions with the fewest right answers:\n\n"
    end = f"\n\nKinds that lost more answers than they won: {lost}. "
    return _section(
        "Known weaknesses",
        begin + table(headings, rows) + end + "Questions of other kinds were not measured, nor was "
        "ability outside the task, but for guard sets: training on one task can cost others.",
    )


def _weakness(kind: str, tally: Tally, gain: Interval, teacher: Accuracy | None) -> tuple[str, ...]:
    reached = teacher.kinds.get(kind) if teacher else None
    return (cell(kind), *_tally(tally, gain), "" if reached is None else f"{reached:.1%}")


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.rstrip()}\n"
