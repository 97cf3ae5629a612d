"""Figures of a running service, for people and for tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Console

from services.orchestrator.endpoints.readings import ServiceFigures
from services.orchestrator.reports.listing import print_rows, say


def to_json(found: ServiceFigures) -> str:
    return json.dumps(asdict(found), indent=2)


def show(found: ServiceFigures, console: Console) -> None:
    """Print one line about the service, then its figures."""
    state = "ready" if found.is_ready else "NOT READY"
    say(
        console,
        f"{found.role} at {found.address}: {state} (engine {found.engine}, "
        f"release {found.release})",
    )
    rows = [(name, value) for name, value in _rows(found) if value]
    print_rows(("figure", "value"), rows, console)


def _rows(found: ServiceFigures) -> list[tuple[str, str]]:
    return [
        ("versions", _pairs(found.pointers)),
        ("versions loaded", str(found.versions_loaded) if found.pointers else ""),
        ("requests", f"{found.requests_per_s:.1f} a second, {found.in_flight} in flight"),
        ("latency", _both("p50", found.p50_s, "p99", found.p99_s)),
        ("wait for the engine", f"p99 {_seconds(found.queue_p99_s)}" if found.queue_p99_s else ""),
        ("mean batch", f"{found.mean_batch:.1f} prompts" if found.mean_batch else ""),
        ("tokens", f"{found.tokens_per_s:.1f} a second"),
        ("images decoded", f"{found.images_per_s:.1f} a second"),
        ("image cache", "" if found.cache_hits is None else f"{found.cache_hits:.0%} found"),
        ("errors", _pairs(found.errors)),
        ("limits hit", _pairs(found.limits)),
        ("swaps", _pairs(found.swaps)),
        ("training", "step {} of {}".format(*found.training) if found.training else ""),
        ("provider", f"${found.cost_usd:.2f}" if found.cost_usd else ""),
        ("memory", f"{found.memory_bytes / 2**30:.1f} GiB"),
    ]


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _both(name: str, value: float | None, other: str, another: float | None) -> str:
    return f"{name} {_seconds(value)}, {other} {_seconds(another)}" if value is not None else ""


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
