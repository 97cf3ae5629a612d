"""What the driver and the machines of a cluster tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.core.errors import MpaError
from services.orchestrator.run.ledger import SCHEMA_VERSION
from services.orchestrator.run.ledger.excerpt import Excerpt
from services.orchestrator.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Work:
    """What a machine of the cluster knows of the run. `meta`: of its ledger, which is of `schema`."""

    settings: Settings
    run_id: str
    meta: Mapping[str, str]
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Parcel:
    """An image on its way. `error`: what stopped the work on it, and stops the run once it is home."""

    path: str
    image_sha256: str
    excerpt: Excerpt
    error: MpaError | None = None
