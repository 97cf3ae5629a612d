"""An audit for people and programs: what was drawn, and Table 4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console

from services.core.intervals import Interval
from services.orchestrator.audit.figures import AuditFigures
from services.orchestrator.audit.key import DrawnArm, Key
from services.orchestrator.reports.listing import print_rows, say

NAMES = {
    DrawnArm.BEFORE: "before PI",
    DrawnArm.AFTER: "after PI",
    DrawnArm.HUMAN: "written by people",
}


def show(key: Key, found: AuditFigures, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.file.write(json.dumps(_document(key, found), indent=2, ensure_ascii=False) + "\n")
        return
    arms = [NAMES[arm] for arm in key.populations]
    headings = ("measure", *arms, "change", "agreement")
    rows = [
        (
            f"{measured.criterion.name} ({measured.criterion.symbol})",
            *(percent(share) for share in measured.shares.values()),
            percent(measured.change, sign="+"),
            "" if measured.alpha is None else f"{measured.alpha:.2f}",
        )
        for measured in found.measured
    ]
    print_rows(
        headings,
        rows,
        console,
        numbers=headings[1:],
        caption="in brackets 95 %; agreement: Krippendorff's alpha",
    )
    say(console, f"raters: {', '.join(found.raters)}")
    for line in drawn(key):
        say(console, line)


def drawn(key: Key) -> Iterator[str]:
    """What was drawn, and where that is less than was asked for."""
    for arm, population in key.populations.items():
        count = len(key.of(arm))
        fewer = f", {key.asked:,} were asked for" if count < key.asked else ""
        yield f"{NAMES[arm]}: {count:,} items of {population:,}{fewer}"
    if both := sum(len(item.arms) > 1 for item in key.items.values()):
        yield f"{both:,} were drawn twice, before and after PI: they are rated once and count in both"


def percent(share: Interval, sign: str = "") -> str:
    """In percent, with its interval."""
    return f"{100 * share.expected:{sign}.1f} ({100 * share.low:{sign}.1f} to {100 * share.high:{sign}.1f})"


def _document(key: Key, found: AuditFigures) -> dict[str, object]:
    measured = {
        of.criterion.key: {
            **{str(arm): asdict(share) for arm, share in of.shares.items()},
            "change": asdict(of.change),
            "alpha": of.alpha,
        }
        for of in found.measured
    }
    arms = {
        str(arm): {"items": len(key.of(arm)), "population": count}
        for arm, count in key.populations.items()
    }
    facts = {
        "audit": key.audit,
        "run": key.run,
        "round": key.round,
        "task": key.task,
        "seed": key.seed,
        "asked": key.asked,
    }
    return {**facts, "raters": list(found.raters), "arms": arms, "measures": measured}
