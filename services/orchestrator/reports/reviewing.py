"""Reviews of a run for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from services.orchestrator.audit.review_figures import ReviewFigures
from services.orchestrator.exports.imported_reviews import ImportedReviews
from services.orchestrator.reports.listing import print_rows, say


def show(found: ReviewFigures, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.file.write(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
        return
    if not found.states:
        say(console, "nobody has reviewed a record of this run: `mpa-orch ui` shows its records")
        return
    states = ", ".join(f"{count:,} {state}" for state, count in found.states.items())
    say(console, f"records: {states}")
    reviewers = ", ".join(f"{name} {count:,}" for name, count in found.reviewers.items())
    say(console, f"reviewers: {reviewers}")
    if found.alpha is not None:
        say(console, f"agreement of all reviewers (Krippendorff's alpha): {found.alpha:.2f}")
    if found.pairs:
        columns = ("reviewers", "records", "kappa")
        pairs = [
            (f"{pair.one}, {pair.other}", f"{pair.records:,}", _figure(pair.kappa))
            for pair in found.pairs
        ]
        print_rows(columns, pairs, console, numbers=columns[1:], caption="Cohen's kappa")
    headings = ("matcher", "records", "wrongly kept", "wrongly left out", "kappa")
    matchers = [
        (
            one.matcher,
            f"{one.records:,}",
            f"{one.wrongly_kept:,}",
            f"{one.wrongly_left:,}",
            _figure(one.kappa),
        )
        for one in found.matchers
    ]
    caption = "matchers against people; the first one is the run's"
    print_rows(headings, matchers, console, numbers=headings[1:], caption=caption)


def listed(counts: Mapping[str, int]) -> str:
    """Numbers of reviews by verdict, with a colon before them; "" if there are none."""
    found = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(counts.items()))
    return f": {found}" if found else ""


def imported(found: ImportedReviews, run: Path) -> Iterator[str]:
    """Lines about reviews that another program has brought."""
    yield f"{sum(found.added.values()):,} reviews added to {run}{listed(found.added)}"
    if found.known:
        yield f"{found.known:,} not added: they, or later ones of their reviewer, are there"
    if found.other_questions:
        yield (
            f"{found.other_questions:,} with a changed question count as rejected: a run keeps its "
            "questions (--output writes the changed ones)"
        )


def _figure(kappa: float | None) -> str:
    return "" if kappa is None else f"{kappa:.2f}"
