"""The summary of a run, for people and for tools."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from services.core.agreement import Rate
from services.core.intervals import format_p
from services.core.parity import Cell
from services.core.usage import Usage
from services.orchestrator.reports import rounds as rounds_report
from services.orchestrator.reports.listing import in_points, say
from services.orchestrator.run.opinions import LabelNoise
from services.orchestrator.run.summary import Summary


def to_json(summary: Summary) -> str:
    """The text of `summary.json`."""
    return json.dumps(asdict(summary), indent=2, ensure_ascii=False)


def show(summary: Summary, console: Console) -> None:
    """Print the run's counts, its result, and the version that is live now."""
    _show_counts(summary, console)
    _show_accuracies(summary, console)
    _show_guards(summary, console)
    _show_examples(summary, console)
    if len(summary.rounds) > 1:
        rounds_report.show(summary.rounds, summary.stopped, console)
    _show_outcome(summary, console)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _tokens(usage: Usage) -> str:
    cached = f" ({usage.cached_prompt_tokens:,} cached)" if usage.cached_prompt_tokens else ""
    return f"{usage.prompt_tokens:,} in{cached} and {usage.completion_tokens:,} out"


def _show_counts(summary: Summary, console: Console) -> None:
    files = summary.image_files
    refused = f"; refused: {_listed(files.refused)}" if files.refused else ""
    say(console, f"images       {files.accepted:,} ({files.held_out:,} held out){refused}")
    if files.leak:
        found = f"{files.refused['leak']:,} images are in an evaluation set and not used"
        say(console, f"leaks        {found}: {files.leak}")
    if files.leaks_used:
        say(
            console,
            f"leaks        {files.leaks_used:,} images of an evaluation set were used before "
            "it was named: measure on another set",
        )
    if files.ignored:
        say(console, f"ignored      {files.ignored}: never read")
    rejected = f"; rejected: {_listed(summary.rejected)}" if summary.rejected else ""
    say(console, f"annotations  {summary.annotations:,}{rejected}")
    say(console, f"cells        {_listed({str(cell): summary.cells[cell] for cell in Cell})}")
    if summary.audited:
        count = sum(summary.audited.values())
        say(console, f"production   {count:,} requests audited: {_listed(summary.audited)}")
    say(console, f"parity set   {_parity_set(summary)}")
    if summary.label_noise:
        _show_label_noise(summary.label_noise, console)
    _show_calls(summary, console)


def _parity_set(summary: Summary) -> str:
    held_out = summary.settings.recipe.held_out
    of_images = f" of the {1 - held_out:.0%} of the images that aren't held out" if held_out else ""
    matcher = f"matcher {summary.matcher}"
    if of_student := summary.settings.student_matcher:
        matcher += f", of the student {of_student}"
    return f"{summary.parity_set:,} samples{of_images} (recipe {summary.recipe}, {matcher})"


def _show_calls(summary: Summary, console: Console) -> None:
    saved = (
        f" ({summary.teacher_calls_saved:,} more came from the cache)"
        if summary.teacher_calls_saved
        else ""
    )
    samples = f", samples {summary.sample_calls:,}" if summary.sample_calls else ""
    teacher = f"teacher {summary.teacher_calls:,}{saved}{samples}"
    say(console, f"model calls  {teacher}, student {summary.student_calls:,}")
    used = {
        role: usage
        for role, usage in sorted(summary.usage.items(), reverse=True)
        if usage.prompt_tokens
    }
    if used:
        tokens = ", ".join(f"{role} {_tokens(usage)}" for role, usage in used.items())
        say(console, f"tokens       {tokens}")
    if cost_usd := sum(usage.cost_usd for usage in used.values()):
        say(console, f"cost         ${cost_usd:,.{2 if cost_usd >= 1 else 4}f} by the price table")


def _show_label_noise(found: LabelNoise, console: Console) -> None:
    if found.noise:
        cells = "; ".join(f"{cell} {_interval(rate)}" for cell, rate in found.by_cell.items())
        say(console, f"label noise  {_interval(found.noise)} of the sampled records: {cells}")
        shares = ", ".join(f"{share} {count:,}" for share, count in found.agreement.items())
        say(console, f"agreement    {shares}")
    if found.outvoted:
        votes = ", ".join(
            f"{teacher} {rate.count:,} of {rate.of:,}" for teacher, rate in found.votes.items()
        )
        outvoted = f"{_interval(found.outvoted)} of those that the first one confirmed"
        say(console, f"votes        {votes}; outvoted: {outvoted}")


def _interval(rate: Rate) -> str:
    return f"{rate.share:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _show_accuracies(summary: Summary, console: Console) -> None:
    if summary.zero_shot is None or summary.aligned is None:
        return
    shown = summary.labelled or summary.held_out
    assert shown is not None and summary.mcnemar_p is not None
    columns = [summary.zero_shot, summary.aligned, *([summary.teacher] if summary.teacher else [])]
    skipped = f", {shown.skipped:,} skipped" if shown.skipped else ""
    say(console, f"accuracy     on {shown.questions:,} questions ({summary.measured_on}{skipped})")
    table = Table()
    for heading in ("questions", "zero-shot", "aligned", "teacher")[: 1 + len(columns)]:
        table.add_column(heading, justify="left" if heading == "questions" else "right")
    table.add_row(
        "all", *(f"{column.accuracy:.1%}" for column in columns), style="bold", end_section=True
    )
    for kind in summary.zero_shot.kinds:
        table.add_row(kind, *(f"{column.kinds.get(kind, 0.0):.1%}" for column in columns))
    console.print(table)
    p = format_p(summary.mcnemar_p)
    say(console, f"fixed {summary.fixed}, broken {summary.broken}, McNemar p {p}")


def _show_guards(summary: Summary, console: Console) -> None:
    for guard in summary.guards:
        found = guard.found
        said = {"yes": "kept", "no": "lost"}.get(found.conclusion, str(found.conclusion))
        skipped = f", {guard.skipped:,} skipped" if guard.skipped else ""
        text = (
            f"{said}: {found.old:.1%} before, {found.new:.1%} after on {found.questions:,} "
            f"questions, difference {in_points(found.difference)} points, "
            f"tolerance {100 * found.margin:g} ({guard.path}{skipped})"
        )
        say(console, f"guard        {text}")


def _show_examples(summary: Summary, console: Console) -> None:
    for example in summary.examples:
        say(console, f'{example.image}: "{example.question}"')
        answers = f"before: {example.before}   after: {example.after}"
        say(console, f"    {answers}   reference: {example.reference}")


def outcome_in_words(outcome: str, before: str, after: str, reason: str) -> tuple[str, str]:
    """Two or three words, and a sentence with the names of the versions and the reason."""
    said = {
        "promoted": ("promoted", f"{after} is live in place of {before}: {reason}"),
        "not_promoted": ("not promoted", f"{before} stays live: {reason}"),
        "nothing_to_align": ("no training", reason),
        "unfinished": ("unfinished", "repeat the command to continue"),
    }
    return said[outcome]


def _show_outcome(summary: Summary, console: Console) -> None:
    versions = (summary.version.before, summary.version.after)
    words, sentence = outcome_in_words(summary.outcome, *versions, summary.reason)
    say(console, f"{words:<12} {sentence}")
    if summary.promoted and summary.swap.requests:
        failure = f" (first: {summary.swap.first_failure})" if summary.swap.failed else ""
        count = summary.swap.requests
        failed = f"{summary.swap.failed} failed{failure}"
        say(console, f"swap         {count:,} requests under way, {failed}")
