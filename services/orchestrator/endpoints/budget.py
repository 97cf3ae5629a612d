"""The budget of a run in dollars and hours, over all its commands: it stops before it costs more.

A call of the teacher reserves its highest possible cost and settles its actual one. If it
doesn't fit any more, it waits for calls in flight, which may cost less than they
reserved. Once none is left, the run stops; every call that was paid is recorded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.core.errors import BudgetSpent, Pending, WrongState
from services.core.usage import TRIES


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a run, None for none.

    `usd_per_hour`: cost of its devices, in addition to a provider's bill.
    """

    usd: float | None = None
    hours: float | None = None
    usd_per_hour: float = 0.0

    def require_price(self, is_priced: bool, teacher: str) -> None:
        """Raises WrongState if dollars are limited, but the cost of a call is unknown."""
        if self.usd and not is_priced and not self.usd_per_hour:
            raise WrongState(
                f"{teacher} has no price, so a budget in dollars can't be kept: "
                "state the cost of its devices with --usd-per-hour, limit the time with "
                "--max-hours, or, for a provider's model, give the teacher a price table "
                "(MPA_TEACHER_PRICES)"
            )


@dataclass(frozen=True, slots=True)
class Paid:
    """Actual cost and duration of a call."""

    usd: float
    took_s: float = 0.0


NO_LIMITS = Limits()


class Budget:
    """Money and time of a run, for use on one event loop.

    `billed_usd`, `worked_s`: spent by earlier commands. The clock starts at construction.
    `on_change` is called whenever money was spent.
    """

    def __init__(self, limits: Limits, billed_usd: float = 0.0, worked_s: float = 0.0) -> None:
        self.limits = limits
        self.on_change: Callable[[], None] = lambda: None
        self._billed_usd = billed_usd
        self._worked_s = worked_s
        self._began = time.monotonic()
        self._reserved_usd = self._slowest_s = 0.0
        self._dearest_usd: dict[str, float] = {}
        self._under_way = 0
        self._change = asyncio.Event()

    @property
    def billed_usd(self) -> float:
        """Dollars billed by providers."""
        return self._billed_usd

    @property
    def worked_s(self) -> float:
        return self._worked_s + time.monotonic() - self._began

    @property
    def spent_usd(self) -> float:
        return self._billed_usd + self.limits.usd_per_hour * self.worked_s / 3600

    @property
    def left_s(self) -> float | None:
        """Seconds until the hours, or the dollars for the devices, are spent. None: no limit."""
        limits = self.limits
        left = []
        if limits.hours is not None:
            left.append(limits.hours * 3600 - self.worked_s)
        if limits.usd is not None and limits.usd_per_hour:
            left.append((limits.usd - self.spent_usd) / limits.usd_per_hour * 3600)
        return min(left) if left else None

    async def reserve(self, kind: str, bound_usd: float | None) -> float:
        """Reserves dollars for one call, once there is room for it.

        `bound_usd` is None if nobody knows a bound. Raises as `room` does.
        """
        while (usd := self.room(kind, bound_usd)) is None:
            await self._change.wait()
        return usd

    def room(self, kind: str, bound_usd: float | None) -> float | None:
        """Dollars that one call reserves; None if it doesn't fit before another call has settled.

        Raises BudgetSpent if no room is left, Pending if nothing may be spent at all:
        then that call alone is left out.
        """
        if self.limits.usd == 0:
            raise Pending("the cache lacks their replies, and the budget is 0")
        usd = self._fitting(kind, bound_usd)
        if usd is not None:
            self._under_way += 1
            self._reserved_usd += usd
        elif not self._under_way:
            raise self.spent()
        return usd

    async def settle(self, kind: str, usd: float, paid: Paid | None) -> None:
        """Ends the call that had reserved `usd`.

        `paid` is None if the amount that will be billed is unknown.
        """
        self._under_way -= 1
        self._reserved_usd -= usd
        if paid is not None:
            self._slowest_s = max(self._slowest_s, paid.took_s)
            self._dearest_usd[kind] = max(self._dearest_usd.get(kind, 0.0), paid.usd)
        self.bill(usd if paid is None else paid.usd)

    def bill(self, usd: float) -> None:
        """Adds money that was spent without a reservation here."""
        self._billed_usd += usd
        self._change.set()
        self._change = asyncio.Event()
        self.on_change()

    def _fitting(self, kind: str, bound_usd: float | None) -> float | None:
        """The dollars that such a call reserves; None if it doesn't fit now."""
        if self.left_s is not None and self.left_s <= self._slowest_s:
            return None
        if self.limits.usd is None:
            return 0.0
        left_usd = self.limits.usd - self.spent_usd - self._reserved_usd
        if bound_usd is None and kind not in self._dearest_usd:
            # The first call shows the price, and is made alone.
            return left_usd if left_usd > 0 and not self._under_way else None
        dearest = self._dearest_usd.get(kind, 0.0)
        usd = TRIES * dearest if bound_usd is None else max(bound_usd, dearest)
        return usd if usd <= left_usd else None

    def spent(self) -> BudgetSpent:
        limits = self.limits
        if limits.usd is not None:
            used = (
                f"${self.spent_usd:,.4f} of the budget of ${limits.usd:,.2f} are spent, "
                "and the next call may cost too much"
            )
        else:
            used = (
                f"{self.worked_s / 3600:.3g} of {limits.hours:g} hours are used, "
                "and the next step may take too long"
            )
        return BudgetSpent(
            f"{used}: everything so far is kept; "
            "repeat the command with a larger --budget or --max-hours"
        )
