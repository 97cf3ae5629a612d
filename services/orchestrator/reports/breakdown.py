"""Table 8, errors by category, for people and programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from services.orchestrator.audit.breakdown import Breakdown, CategoryShare
from services.orchestrator.reports.audit import percent
from services.orchestrator.reports.listing import print_rows, say

UNDECIDED = "undecided"


def show(found: Breakdown, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.file.write(json.dumps(_document(found), indent=2, ensure_ascii=False) + "\n")
        return
    headings = ("category", "errors", "by rule", "share", "a gap")
    rows = [_cells(part) for part in found.parts]
    print_rows(headings, rows, console, numbers=headings[1:4], caption="in brackets 95 %")
    fewer = f", {found.asked:,} were requested" if found.errors < found.asked else ""
    by = ", ".join(found.by) or "nobody"
    say(console, f"{found.errors:,} of the gap's {found.population:,} errors{fewer}; by {by}")
    if found.alpha is not None:
        say(console, f"agreement of the raters (Krippendorff's alpha): {found.alpha:.2f}")
    if not found.parts[-1].category:
        say(
            console,
            "undecided: no rule decides, and no judge was asked or named one category "
            "(--teacher asks one)",
        )


def _cells(part: CategoryShare) -> tuple[str, ...]:
    counts = (f"{part.count:g}", f"{part.by_rule:,}", percent(part.share))
    if part.category is None:
        return (UNDECIDED, *counts, "")
    return part.category.title, *counts, "yes" if part.category.is_gap else "no"


def _document(found: Breakdown) -> dict[str, object]:
    parts = {
        part.category.name if part.category else UNDECIDED: {
            "title": part.category.title if part.category else None,
            "is_gap": part.category.is_gap if part.category else None,
            "errors": part.count,
            "by_rule": part.by_rule,
            "share": asdict(part.share),
        }
        for part in found.parts
    }
    facts = {"task": found.task, "by": list(found.by), "asked": found.asked, "errors": found.errors}
    return {**facts, "population": found.population, "alpha": found.alpha, "categories": parts}
