"""Messages between the driver and the machines of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.core.errors import Cancelled, MpaError
from services.orchestrator.run.ledger import SCHEMA_VERSION
from services.orchestrator.run.ledger.excerpt import Excerpt
from services.orchestrator.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Work:
    """The run, as a machine of the cluster knows it.

    `meta`: of its ledger, which is of `schema`.
    """

    settings: Settings
    run_id: str
    meta: Mapping[str, str]
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Parcel:
    """An image that travels.

    `error` stopped the work on it, and stops the run once the driver has it.
    """

    path: str
    image_sha256: str
    excerpt: Excerpt
    error: MpaError | None = None


class Stopped(Cancelled):
    """Another image's error had stopped the run before this image was finished."""
