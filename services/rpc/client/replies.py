"""Messages of a client as dataclasses, without protobuf."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.contract import Contract
from services.core.errors import MpaError
from services.core.provenance import Provenance
from services.core.usage import Tariff


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image to send. `sha256` (hex) is the hash of the original file, its name."""

    sha256: str
    data: bytes
    """The original file, or a smaller copy of it."""
    data_sha256: str = ""
    """Hash of `data` (hex); "" if it is the original."""

    @classmethod
    def of(cls, data: bytes) -> Picture:
        return cls(hashlib.sha256(data).hexdigest(), data)

    @property
    def sent_sha256(self) -> str:
        """Hash of `data`, which names it at the services."""
        return self.data_sha256 or self.sha256


@dataclass(frozen=True, slots=True)
class TeacherModel:
    """Identity of a teacher: `fingerprint` and `serving_sha256` (hex) determine its replies.

    `name` is for people. `tariff` None: a model that runs locally and costs no dollars.
    `pixel_budget`: sizes of its image processor as JSON, "" if unknown.
    """

    fingerprint: str
    serving_sha256: str
    name: str = ""
    tariff: Tariff | None = None
    pixel_budget: str = ""


@dataclass(frozen=True, slots=True)
class AnnotationReply:
    """The teacher's text. `rejection` states why it is no annotation, "" if it is one."""

    text: str
    question: str
    answer: str
    rejection: str
    model_fingerprint: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class AnswerReply:
    """An answer. `version`: the student's version, or the teacher's model fingerprint.

    `logprob`: natural logarithm of the whole answer's probability; None if it is not known.
    """

    answer: str
    version: str
    provenance: Provenance
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class StudentVersion:
    """A version as its service lists it."""

    name: str
    is_loaded: bool
    weights_sha256: str
    contract: Contract
    model: str = ""
    """Published model that its first ancestor was, as ORGANISATION/NAME@REVISION, if known."""
    parent: str = ""
    created_at: str = ""
    """UTC, as "2026-11-24 10:00:00"; "" if its manifest is damaged."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Figures of its training, such as train_steps."""
    adapter_of: str = ""
    """Version of which it is an adapter; "" if all of its weights are its own."""


@dataclass(frozen=True, slots=True)
class VersionPointers:
    """Names of versions; "" if there is none."""

    live: str
    candidate: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """The pointers after a promotion."""

    pointers: VersionPointers
    missing: tuple[str, ...] = ()
    """Followers of the store that don't serve the live version: the address and the reason."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version on its service's disk, for people."""

    name: str
    state: str
    """"available", "unloaded" and so on."""
    size_bytes: int
    parent: str
    run: str
    recipe: str
    adapter_of: str
    created_at: str
    """UTC, as "2026-11-24 10:00:00"; "" if its manifest is damaged."""
    weights_sha256: str
    metrics: Mapping[str, float]
    canaries: int
    canaries_passed: int
    """-1 before the first load."""
    leases: int
    needed: str
    """Reason why it can't be deleted, "" if it can."""
    error: str
    """Damage in memory or on disk, "" if none is known."""
    is_trial: bool = False
    """Whether it was trained only to be measured, and never goes live."""


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """A service that follows the store of another, as its owner sees it."""

    address: str
    state: str
    """"loading", "serving", "failed" or "lost"."""
    version: str
    """The version that answers there."""
    silent_s: float
    """Seconds since its last heartbeat."""
    error: str
    """Why it does not serve the live version."""


@dataclass(frozen=True, slots=True)
class VersionList:
    """All versions of a service, the oldest first, its pointers, and the followers of its store."""

    versions: tuple[StoredVersion, ...]
    pointers: VersionPointers
    followers: tuple[FollowerStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """A version that its service trained, with the seconds and optimizer steps that this took.

    `is_adapter`: only low-rank adapters were trained, not all weights.
    """

    version: str
    seconds: float
    steps: int
    is_adapter: bool


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Forecast of a training by its service. `reason` and `swap_reason` are for people."""

    fits: bool
    reason: str
    is_loadable: bool
    """Whether the result could be loaded next to the live version, to be judged."""
    swap_reason: str
    takes_anchors: bool
    """Whether it trains on anchors; services of earlier releases don't."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """State of a training operation: `version` is set on success, `error` on failure."""

    operation: str
    phase: str
    step: int
    total_steps: int
    loss: float
    samples_per_s: float
    eta_s: float
    version: str
    error: MpaError | None

    @property
    def has_ended(self) -> bool:
        return self.version != "" or self.error is not None
