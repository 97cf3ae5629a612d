"""A quote as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from services.orchestrator.quotes.quote import Quote
from services.orchestrator.reports.listing import say

COLUMNS = ("stage", "asks", "calls", "time", "tokens in", "tokens out", "cost")


def show(quote: Quote, console: Console) -> None:
    """Print the expected costs of the whole run; unknown figures are "?"."""
    saved = (
        f"; {quote.saved_calls:,} of its teacher calls came from the cache"
        if quote.saved_calls
        else ""
    )
    images = f"{quote.pilot:,} of {quote.pool:,} images, {quote.usable:,} of them usable"
    say(console, f"pilot        {images}{saved}")
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("stage", "asks") else "right")
    for stage in quote.stages:
        tokens = (f"{stage.usage.prompt_tokens:,}", f"{stage.usage.completion_tokens:,}")
        cost = f"${stage.usage.cost_usd:,.2f}" if stage.usage.cost_usd else ""
        table.add_row(
            stage.name, stage.role, f"{stage.calls:,}", clock(stage.seconds), *tokens, cost
        )
    console.print(table)
    found = quote.parity_set
    within = f"{found.low:,.0f} to {found.high:,.0f}"
    say(console, f"parity set   {found.expected:,.0f} samples (95 %: {within})")
    training = quote.training
    steps = "? steps" if training.steps is None else f"{training.steps:,} steps"
    say(console, f"training     {steps}, {clock(training.seconds)} ({training.basis})")
    more = ", without the training" if training.seconds is None else ""
    say(console, f"time         {clock(quote.wall_s)}{more}")
    if quote.gpu_hours is not None:
        at = f", ${quote.devices_usd:,.2f}" if quote.devices_usd is not None else ""
        say(console, f"devices      {quote.gpu_hours:,.2f} GPU-hours{at}")
    if quote.provider_usd:
        paid = f"the pilot's ${quote.pilot_usd:,.2f} are paid"
        say(console, f"provider     ${quote.provider_usd:,.2f}, of which {paid}")
    if quote.wall_s is None:
        say(
            console,
            "The cache answered every call of a stage, so its time is unknown. "
            "--no-cache measures it, and pays again.",
        )


def clock(seconds: float | None) -> str:
    """A duration such as 2:05:09; "?" for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
