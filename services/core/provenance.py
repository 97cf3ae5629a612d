"""Origin of a model's reply: why it ended, its usage, and the backend that a provider reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.core.usage import NO_USAGE, Usage


class FinishReason(StrEnum):
    """Reason why a reply ended: only STOP is a complete answer. Equals mpa.v1.FinishReason."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of a reply; `system_fingerprint` is a provider's name for its backend.

    `is_cached`: the reply was already known, so nothing was asked. `usage` is that of the first
    time.
    """

    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = NO_USAGE
    system_fingerprint: str = ""
    is_cached: bool = False


NOTHING_KNOWN = Provenance()
