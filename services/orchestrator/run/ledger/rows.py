"""What the ledger says of an image, an annotation, an answer and a record; and how a call came about, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.core.parity import Cell
from services.core.provenance import NOTHING_KNOWN, FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.run.ledger.schema import CACHED, POOL, PROVENANCE


@dataclass(frozen=True, slots=True)
class ImageRow:
    path: str
    sha256: str
    rejection: str = ""
    detail: str = ""
    held_out: bool = False  # SQLite keeps it as 0 or 1
    step: int = 0
    likeness: bytes = b""


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """`number`: which of the image's questions; `attempt`: 1 where the first reply could not be parsed, N where round N asked.

    `detail`: what a call that failed said.
    """

    image_sha256: str
    number: int
    attempt: int
    text: str
    question: str
    answer: str
    rejection: str
    seed: int
    model_fingerprint: str
    detail: str = ""
    provenance: Provenance = NOTHING_KNOWN
    origin: str = POOL


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """`role`: teacher or student; `version`, `conditions`: see the schema."""

    image_sha256: str
    question: str
    role: str
    version: str
    answer: str
    conditions: str
    step: str
    provenance: Provenance = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Record:
    """An annotation that was identified."""

    path: str
    image_sha256: str
    question: str
    answer: str
    cell: Cell
    held_out: bool
    origin: str = POOL


PROVENANCE_COLUMNS = ", ".join(column.split()[0] for column in (*PROVENANCE, CACHED))


def provenance_of(row: tuple[Any, ...]) -> Provenance:
    finish_reason, system_fingerprint, *usage, is_cached = row
    return Provenance(
        FinishReason(finish_reason or FinishReason.STOP),
        Usage(*usage),
        system_fingerprint,
        bool(is_cached),
    )


def values_of(provenance: Provenance) -> tuple[str | int | float, ...]:
    usage = provenance.usage
    counts = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_prompt_tokens,
        usage.cost_usd,
    )
    return (
        str(provenance.finish_reason),
        provenance.system_fingerprint,
        *counts,
        int(provenance.is_cached),
    )
