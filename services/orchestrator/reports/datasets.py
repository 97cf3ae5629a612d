"""The content of a data set and its faults, for people."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from services.orchestrator.datasets.checks import Findings, Problem
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.reports.listing import say

KINDS_SHOWN = 8


def show_findings(dataset: Dataset, findings: Findings, console: Console) -> None:
    say(console, f"{dataset.path}  {dataset.format.name}")
    say(console, f"  {findings.records:,} questions about {len(findings.images):,} images")
    if len(findings.splits) > 1:
        say(console, f"  splits: {_listed(findings.splits)}")
    say(console, f"  kinds: {_listed(findings.kinds)}")
    for problem in Problem:
        if count := findings.faults[problem]:
            say(console, f"  {problem}: {count:,}")
            for example in findings.examples[problem]:
                say(console, f"    {example}")
            if count > len(findings.examples[problem]):
                say(console, "    ...")
    if not findings.faults:
        say(console, "  nothing is wrong with it")


def _listed(counts: Counter[str]) -> str:
    shown = [f"{name or '(none)'} {count:,}" for name, count in counts.most_common(KINDS_SHOWN)]
    if len(counts) > KINDS_SHOWN:
        shown.append(f"{len(counts) - KINDS_SHOWN:,} more")
    return ", ".join(shown)
