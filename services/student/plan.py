"""How a version comes in beside the live one, or in its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SwapWay(StrEnum):
    """As mpa.v1.SwapWay."""

    TWO_SLOTS = "two_slots"
    IN_PLACE = "in_place"
    ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version would be brought in, and why."""

    way: SwapWay
    reason: str
