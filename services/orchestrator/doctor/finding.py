"""A finding: one fact about the machine, a verdict, and the next thing to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether a fact stands in the way."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `advice` is empty if there is nothing to do."""

    subject: str
    verdict: Verdict
    found: str
    advice: str = ""
