"""The state of this machine, for people and for tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from services.orchestrator.doctor.finding import Finding, Verdict
from services.orchestrator.doctor.offers import Offer
from services.orchestrator.reports.listing import print_rows, say


def to_json(findings: Sequence[Finding], offers: Sequence[Offer]) -> str:
    return json.dumps(
        {
            "findings": [asdict(finding) for finding in findings],
            "presets": [asdict(offer) for offer in offers],
        },
        indent=2,
    )


def show(findings: Sequence[Finding], offers: Sequence[Offer], console: Console) -> None:
    """Print the findings, then the presets that fit, with the settings to start them."""
    for finding in findings:
        say(console, f"{finding.verdict:<9}{finding.subject}: {finding.found}")
        if finding.advice and finding.verdict is not Verdict.OK:
            say(console, f"{'':<9}-> {finding.advice}")
    say(console, "")
    rows = [
        (offer.preset, offer.role, offer.training, " ".join((*offer.settings, _serve(offer))))
        for offer in offers
        if offer.fits
    ]
    print_rows(("preset", "role", "training", "start"), rows, console)
    if others := [offer.preset for offer in offers if not offer.fits]:
        say(console, f"too large for this machine: {', '.join(others)}")


def _serve(offer: Offer) -> str:
    return f"mpa-orch serve {offer.role}{' --convert' if offer.is_converted else ''}"
