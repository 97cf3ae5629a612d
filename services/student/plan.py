"""Plan of a swap: load the version next to the live one, or in its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SwapWay(StrEnum):
    """Ways of a swap, with the names of mpa.v1.SwapWay."""

    TWO_SLOTS = "two_slots"
    IN_PLACE = "in_place"
    ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class Plan:
    """Way of a swap, with the reason for it."""

    way: SwapWay
    reason: str
