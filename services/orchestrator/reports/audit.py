"""An audit for people and programs: its draw, and Table 4."""

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
    """The number of items drawn in each arm, and a note if it is less than wanted."""
    for arm, population in key.populations.items():
        count = len(key.of(arm))
        fewer = f", {key.asked:,} were requested" if count < key.asked else ""
        yield f"{NAMES[arm]}: {count:,} items of {population:,}{fewer}"
    if both := sum(len(item.arms) > 1 for item in key.items.values()):
        yield (
            f"{both:,} were drawn twice, before and after PI: they are rated once and count in both"
        )


def percent(share: Interval, sign: str = "") -> str:
    """A share in percent, with its interval."""
    expected, low, high = 100 * share.expected, 100 * share.low, 100 * share.high
    return f"{expected:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def _document(key: Key, found: AuditFigures) -> dict[str, object]:
    measured = {
        one.criterion.key: {
            **{str(arm): asdict(share) for arm, share in one.shares.items()},
            "change": asdict(one.change),
            "alpha": one.alpha,
        }
        for one in found.measured
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
