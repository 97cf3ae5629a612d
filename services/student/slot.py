"""One version in memory: its state, its leases, and how a loader makes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.core.contract import Contract
from services.engines.model import Adaptable, VisionLanguageModel
from services.student.canaries import Checked


class SlotState(StrEnum):
    """States of a version in memory, with the names of mpa.v1.VersionState."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    AVAILABLE = "available"
    DRAINING = "draining"
    FAILED = "failed"


class Loader(Protocol):
    """Loads versions by name, each seen to answer as its trainer computed.

    Raises MpaError, or any error of the engine or the disk.
    """

    def contract(self, name: str) -> Contract: ...

    async def inspect(self, name: str) -> None:
        """Looks at the files only."""

    async def load(self, name: str) -> tuple[VisionLanguageModel, Checked]:
        """A new engine."""

    async def adapt(self, base: Adaptable, name: str) -> tuple[VisionLanguageModel, Checked]:
        """The version's adapter, on a base that is loaded."""

    async def reload(self, model: VisionLanguageModel, name: str) -> Checked:
        """The version's weights into an engine that holds others."""


@dataclass(slots=True)
class Slot:
    """One version in memory. `base`: the version whose engine it shares; "" where it has its own."""

    name: str
    contract: Contract
    base: str = ""
    state: SlotState = SlotState.LOADING
    model: VisionLanguageModel | None = None
    error: str = ""
    leases: int = 0
    canaries: Checked | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    watch: asyncio.Task[None] | None = None

    @property
    def is_available(self) -> bool:
        return self.state is SlotState.AVAILABLE


@dataclass(frozen=True, slots=True)
class Lease:
    """A hold on a loaded version for the length of one request."""

    version: str
    contract: Contract
    model: VisionLanguageModel
