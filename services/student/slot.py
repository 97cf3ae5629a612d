"""One version in memory: its state, its leases, and the protocol of its loader."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.core.contract import Contract
from services.engines.model import Adaptable, VisionLanguageModel
from services.student.canary_check import Checked


class SlotState(StrEnum):
    """States of a version in memory, with the names of mpa.v1.VersionState."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    AVAILABLE = "available"
    DRAINING = "draining"
    FAILED = "failed"


class Loader(Protocol):
    """Loader of versions by name. It checks that each answers as its trainer computed.

    Raises MpaError, or any error of the engine or the disk.
    """

    def contract(self, name: str) -> Contract: ...

    async def inspect(self, name: str) -> None:
        """Check the files only."""

    async def load(self, name: str) -> tuple[VisionLanguageModel, Checked]:
        """Load the version into a new engine."""

    async def adapt(self, base: Adaptable, name: str) -> tuple[VisionLanguageModel, Checked]:
        """Load the version's adapter into the engine of its loaded base."""

    async def reload(self, model: VisionLanguageModel, name: str) -> Checked:
        """Replace the weights of an engine by the version's."""


@dataclass(slots=True)
class Slot:
    """One version in memory. `base`: the version whose engine it shares; "": it has its own."""

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
