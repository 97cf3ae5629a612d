"""What a client sends and gets, without any protobuf."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.usage import NO_USAGE, Tariff, Usage
from services.engines.model import FinishReason


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image file; `sha256` (hex) names it once a service holds it."""

    sha256: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a reply came about: why it ended, what it took, and what a closed model's provider says about its backend.

    `is_cached`: it was known, and nothing was asked for it; `usage` is what it took when it was.
    """

    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = NO_USAGE
    system_fingerprint: str = ""
    is_cached: bool = False


NOTHING_KNOWN = Provenance()


@dataclass(frozen=True, slots=True)
class TeacherModel:
    """What decides a reply beside the request: `fingerprint` and `serving_sha256` (hex). `name` is for people.

    `tariff` None: a model of one's own, whose usage has no dollars.
    """

    fingerprint: str
    serving_sha256: str
    name: str = ""
    tariff: Tariff | None = None


@dataclass(frozen=True, slots=True)
class AnnotationReply:
    """What the teacher wrote. `rejection` says why it is no annotation, "" where it is one."""

    text: str
    question: str
    answer: str
    rejection: str
    model_fingerprint: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class AnswerReply:
    """`version`: the student's version, or the teacher's model fingerprint."""

    answer: str
    version: str
    provenance: Provenance
