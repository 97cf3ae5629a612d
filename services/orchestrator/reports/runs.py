"""Output of `mpa-orch runs` and `mpa-orch matchers`, for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from services.core.parity import Cell
from services.core.usage import Usage
from services.orchestrator.reports.listing import print_rows, say
from services.orchestrator.run.columns import columns
from services.orchestrator.run.comparison import RunComparison
from services.orchestrator.run.entries import Entry
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow
from services.orchestrator.run.listing import ListedRun
from services.orchestrator.run.matching import NAMES, Sides
from services.orchestrator.run.settings import Settings

SAID = {
    Cell.GAP: "teacher right, student wrong",
    Cell.KNOWN: "both right",
    Cell.NOISE_STUDENT_RIGHT: "teacher wrong, student right",
    Cell.NOISE_BOTH_WRONG: "both wrong",
    Cell.UNASKED: "student right, teacher not asked",
}


def show_list(lines: Sequence[ListedRun], folder: Path, console: Console, *, as_json: bool) -> None:
    if as_json:
        _print_json([asdict(line) for line in lines], console)
    elif not lines:
        say(console, f"no runs in {folder}/: `mpa-orch align IMAGES --task vqa --local` begins one")
    else:
        numbers = ("round", "images", "parity set", "gain", "size")
        headings = ("run", "state", "task", "recipe", *numbers)
        print_rows(headings, [_cells(line) for line in lines], console, numbers=numbers)
        for line in lines:
            if line.trouble:
                say(console, f"{line.run}: {line.trouble}")


def line(of: ListedRun) -> str:
    """One run as a line."""
    size = _size(of.size_bytes)
    if of.trouble:
        return f"{of.run}  {of.state}  {size}  ({of.trouble})"
    counts = f"{of.images:,} images, parity set {of.parity_set:,}"
    return f"{of.run}  {of.state}  {counts}, {size}"


def _cells(of: ListedRun) -> tuple[str, ...]:
    if of.trouble:
        return (of.run, of.state, *[""] * 6, _size(of.size_bytes))
    counts = (
        str(of.round),
        f"{of.images:,}",
        f"{of.parity_set:,}",
        _gain(of.gain),
        _size(of.size_bytes),
    )
    return of.run, of.state, of.task, of.recipe, *counts


def show_entries(
    entries: Sequence[Entry], settings: Settings, console: Console, *, as_json: bool
) -> None:
    if as_json:
        for entry in entries:
            line = json.dumps(columns(entry, settings), ensure_ascii=False)
            console.file.write(line + "\n")
        return
    if not entries:
        say(console, "no such records")
    for entry in entries:
        for text in _entry(entry):
            say(console, text)


def _entry(entry: Entry) -> Iterable[str]:
    image = entry.image
    row = entry.annotation
    if row is None:
        yield f"{image.path}  refused: {image.rejection}  {image.detail}"
        return
    held_out = "  held out" if image.held_out else ""
    place = f"question {row.number}, attempt {row.attempt}{held_out}"
    yield f"{image.path}  {row.image_sha256[:12]}  {place}"
    if row.question:
        yield f"    {row.question}  ->  {row.answer}"
    else:
        yield f"    {' '.join(row.text.split()) or '(no reply)'}"
    if row.rejection:
        yield f"    rejected: {row.rejection}  {row.detail}"
    elif entry.cell is None:
        yield "    not identified yet"
    else:
        by = entry.matcher
        if entry.student_matcher != entry.matcher:
            by += f", the student by {entry.student_matcher}"
        yield f"    {entry.cell}: {SAID[entry.cell]} (by {by})"
    yield f"    annotated by {row.model_fingerprint[:12] or 'nobody'}, seed {row.seed}{_usage(row)}"
    for answer in (entry.student, *entry.teachers):
        if answer is not None:
            details = f"conditions {answer.conditions}{_usage(answer)}"
            yield f"    {answer.role} {answer.version[:12]}: {answer.answer}  ({details})"


def _usage(row: AnnotationRow | AnswerRow) -> str:
    usage: Usage = row.provenance.usage
    if not usage.prompt_tokens:
        return ""
    cost = f", ${usage.cost_usd:.4f}" if usage.cost_usd else ""
    return f", {usage.prompt_tokens} + {usage.completion_tokens} tokens{cost}"


def show_comparison(of: RunComparison, console: Console, *, as_json: bool) -> None:
    if as_json:
        moved = [
            {"before": before, "after": after, "count": count}
            for (before, after), count in sorted(of.moved.items())
        ]
        _print_json({**asdict(of), "cells": of.cells, "moved": moved}, console)
        return
    first, second = of.runs
    rows: list[Sequence[str]] = [(name, *values) for name, values in of.settings.items()]
    rows += [
        (cell or "(not in it)", *(f"{count:,}" for count in counts))
        for cell, counts in of.cells.items()
    ]
    rows += [("gain", *map(_gain, of.gains))]
    print_rows(("", first, second), rows, console)
    for (before, after), count in of.changes.items():
        say(console, f"{before} -> {after}: {count:,}")
    for change in of.changed:
        asked = f"{change.image}  {change.question}  ->  {change.answer}"
        say(console, f"{asked}: {change.before}, then {change.after}")


def show_matchers(sides: Sides, console: Console, *, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(sides), console)
        return
    rows = [
        (rule, *(f"{count.cells[name]:,}" for name in NAMES), f"+{count.joined:,} -{count.left:,}")
        for rule, count in sides.counts.items()
    ]
    caption = (
        "the first is the run's own; unknown: student wrong by this rule, "
        "but the teacher was not asked"
    )
    numbers = (*NAMES, "gap against the run's")
    print_rows(("matcher", *numbers), rows, console, numbers=numbers, caption=caption)
    more = "" if sides.disagreements else ": --disagreements"
    say(console, f"{sides.disagreeing:,} records on which they disagree{more}")
    for row in sides.disagreements:
        teacher = "not asked" if row.teacher is None else row.teacher
        asked = f"{row.image}  {row.question}  ->  {row.annotation}"
        say(console, f"{asked}   student: {row.student}   teacher: {teacher}")
        say(console, f"    {', '.join(f'{rule}: {cell}' for rule, cell in row.cells.items())}")


def _gain(gain: float | None) -> str:
    return "" if gain is None else f"{100 * gain:+.1f}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


def _print_json(document: object, console: Console) -> None:
    console.file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
