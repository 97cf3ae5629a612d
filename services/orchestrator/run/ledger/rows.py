"""Rows of the ledger's tables, and the columns of a call's provenance."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from services.core.parity import Cell
from services.core.provenance import NOTHING_KNOWN, FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.run.ledger.schema import CACHED, POOL, PROVENANCE

Value = str | int | float | bytes | None


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
    """A reply of the teacher."""

    image_sha256: str
    number: int
    """Position among the image's questions, from 0."""
    attempt: int
    """1 if the first reply could not be parsed, N if round N asked, else 0."""
    text: str
    """The whole reply."""
    question: str
    answer: str
    rejection: str
    """Reason of the rejection; "" for a usable annotation."""
    seed: int
    model_fingerprint: str
    """Fingerprint of the teacher; "" if the call failed."""
    detail: str = ""
    """Message of a failed call, or details of the rejection."""
    provenance: Provenance = NOTHING_KNOWN
    origin: str = POOL
    """POOL for questions of the teacher, PRODUCTION for questions of users."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer. `role`: teacher or student; schema.py explains `version` and `conditions`.

    `logprob`: natural logarithm of the whole answer's probability; None if it was not kept.
    """

    image_sha256: str
    question: str
    role: str
    version: str
    answer: str
    conditions: str
    step: str
    provenance: Provenance = NOTHING_KNOWN
    logprob: float | None = None


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
    reviewed: str = ""
    """People's verdict, if it has replaced those of the models: a member of ReviewState."""


def _own(row: type[ImageRow | AnnotationRow | AnswerRow]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(row) if field.name != "provenance")


PROVENANCE_COLUMNS = tuple(column.split()[0] for column in (*PROVENANCE, CACHED))
USAGE_COLUMNS = tuple(field.name for field in fields(Usage))
OWN_COLUMNS = {row: _own(row) for row in (ImageRow, AnnotationRow, AnswerRow)}
ANNOTATION_COLUMNS = ", ".join((*OWN_COLUMNS[AnnotationRow], *PROVENANCE_COLUMNS))
ANSWER_COLUMNS = ", ".join((*OWN_COLUMNS[AnswerRow], *PROVENANCE_COLUMNS))

Called = TypeVar("Called", AnnotationRow, AnswerRow)
"""A row about a call."""


def row_of(kind: type[Called], values: tuple[Any, ...]) -> Called:
    """The row from the values of ANNOTATION_COLUMNS or ANSWER_COLUMNS."""
    names = OWN_COLUMNS[kind]
    own = dict(zip(names, values, strict=False))
    return kind(**own, provenance=_provenance_of(values[len(names) :]))


def columns_of(row: ImageRow | AnnotationRow | AnswerRow) -> dict[str, Value]:
    """Values of a row by column, without its shelf."""
    columns = {name: getattr(row, name) for name in OWN_COLUMNS[type(row)]}
    if not isinstance(row, ImageRow):
        columns |= _provenance_columns(row.provenance)
    return columns


def _provenance_of(values: tuple[Any, ...]) -> Provenance:
    finish_reason, system_fingerprint, *usage, is_cached = values
    return Provenance(
        FinishReason(finish_reason or FinishReason.STOP),
        Usage(*usage),
        system_fingerprint,
        bool(is_cached),
    )


def _provenance_columns(provenance: Provenance) -> dict[str, Value]:
    usage = provenance.usage
    return {
        "finish_reason": str(provenance.finish_reason),
        "system_fingerprint": provenance.system_fingerprint,
        **{name: getattr(usage, name) for name in USAGE_COLUMNS},
        "cached": int(provenance.is_cached),
    }
