"""The state of a run: how far it has come and what it has found, each under a typed name.

The ledger keeps texts under keys, which this module alone knows; keys.py gives them their types.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import count, takewhile

from services.core.errors import WrongState
from services.orchestrator.run.evaluation import GuardSets, RunEvaluation, ScoredSet
from services.orchestrator.run.keys import YES, StateKey, flag, number, text_key
from services.orchestrator.run.ledger import PRODUCTION, Ledger

SECONDS, LEAKS = "seconds.", "leaks."
LossPoint = tuple[int, float]
"""A step of a training, and the mean loss of the latest steps."""


class Outcome(StrEnum):
    """The end of a round."""

    PROMOTED = "promoted"
    NOT_PROMOTED = "not_promoted"
    NOTHING_TO_ALIGN = "nothing_to_align"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the student. Hashes are "" if they are unknown."""

    name: str
    weights_sha256: str = ""
    processor_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Swap:
    """Requests that were under way while the candidate went live, and how many of them failed."""

    requests: int = 0
    failed: int = 0
    first_failure: str = ""


@dataclass(frozen=True, slots=True)
class Pilot:
    """The images of a quote: their `keys`, out of a pool of `pool` images."""

    keys: tuple[str, ...]
    pool: int


@dataclass(frozen=True, slots=True)
class TrainingPace:
    """Pace of the student's trainings.

    Samples of a step and passes over them, by the student's preset; 0 if the preset is unknown.
    `step_s`: seconds of a step when `version` was trained, the last one in the same way (all
    weights, or adapters); None if there was none.
    """

    batch_size: int = 0
    epochs: int = 0
    version: str = ""
    step_s: float | None = None


class State:
    """State of the ledger's present round, or of the round `of_round`."""

    __slots__ = ("_round", "ledger")

    id = text_key("id")
    """Name of the run in requests and in the manifests of versions."""
    settings = text_key("settings")
    """Settings as JSON; "" before the run has begun."""
    rounds = number("rounds", otherwise=1)
    """Most rounds, by the last command."""
    until_gap: StateKey[float] = StateKey("until_gap", lambda text: float(text or 0))
    """Smallest gap rate (0 to 1) that is trained, by the last command."""
    uses_reviews: StateKey[bool] = StateKey("reviews", bool, lambda value: YES if value else "")
    """Whether people's reviews are used for labels, by the last command."""
    production: StateKey[tuple[str, ...]] = StateKey(
        PRODUCTION, lambda text: tuple(json.loads(text or "[]")), json.dumps
    )
    """Folders of users' requests, by the last command."""
    guards: StateKey[GuardSets] = StateKey("guards", GuardSets.from_json, GuardSets.to_json)
    """Sets that the candidate must not get worse on, by the last command that named any."""
    scored: StateKey[dict[str, ScoredSet]] = StateKey(
        "scored",
        lambda text: {path: ScoredSet(**of) for path, of in json.loads(text or "{}").items()},
        lambda value: json.dumps({path: asdict(of) for path, of in value.items()}),
    )
    """Labelled sets that both models have answered, by path."""
    ignored = text_key("ignored")
    """Files next to the images that are no images, for people."""
    leaked_into_training = number("leaks_used")
    """Images of an evaluation set that had been trained on before they were found."""
    worked_s: StateKey[float] = StateKey(
        "worked_s", lambda text: float(text or 0), lambda value: f"{value:.1f}"
    )
    """Seconds that count towards --max-hours."""
    training_pace: StateKey[TrainingPace] = StateKey(
        "pilot.training",
        lambda text: TrainingPace(**json.loads(text or "{}")),
        lambda value: json.dumps(asdict(value)),
    )
    """Pace that a quote predicts the training by."""

    focus: StateKey[dict[str, int]] = StateKey(
        "focus", lambda text: json.loads(text or "{}"), json.dumps, of_a_round=True
    )
    """Kinds of questions to ask for, each with its count in the gap of the round before."""
    annotated = flag("done.annotate")
    answered = flag("done.answer")
    """Whether the student has answered every annotated question, while it had the device."""
    identified = flag("done.identify")
    labelled = text_key("done.labelled", of_a_round=True)
    """Path of the labelled set that the teacher has answered, while it had the device."""
    mixed = text_key("version.mixed", of_a_round=True)
    """Why the answers come from two students; "" if they don't."""
    parity_set: StateKey[int | None] = StateKey(
        "parity_set", lambda text: int(text) if text else None, str, of_a_round=True
    )
    """Number of samples; None before they are chosen."""
    review_limit = number("reviews.limit", of_a_round=True)
    """Number of the last review that the round uses, by its last choice of samples; 0: none."""
    training_confirmed = flag("training.confirmed")
    training_begun = flag("training.begun")
    losses: StateKey[tuple[LossPoint, ...]] = StateKey(
        "training.losses",
        lambda text: tuple((step, loss) for step, loss in json.loads(text or "[]")),
        json.dumps,
        of_a_round=True,
    )
    """Points of the last training's loss curve, by step."""
    evaluation: StateKey[RunEvaluation | None] = StateKey(
        "evaluation",
        lambda text: RunEvaluation.from_json(text) if text else None,
        lambda value: value.to_json() if value else "",
        of_a_round=True,
    )
    outcome: StateKey[Outcome | None] = StateKey(
        "outcome",
        lambda text: Outcome(text) if text else None,
        lambda value: value or "",
        of_a_round=True,
    )
    """None until the round is over."""
    reason = text_key("reason", of_a_round=True)
    """Reason of the outcome, for people."""

    _base = text_key("version.before", of_a_round=True)
    _base_weights = text_key("version.before.weights", of_a_round=True)
    _base_processor = text_key("version.before.processor", of_a_round=True)
    _candidate = text_key("version.after", of_a_round=True)
    _candidate_weights = text_key("version.after.weights", of_a_round=True)
    _pilot_pool = number("pilot.pool")
    _pilot_keys: StateKey[tuple[str, ...]] = StateKey(
        "pilot.keys", lambda text: tuple(json.loads(text or "[]")), json.dumps
    )
    _swap_requests = number("swap.requests", of_a_round=True)
    _swap_failed = number("swap.failed", of_a_round=True)
    _swap_first_failure = text_key("swap.first_failure", of_a_round=True)

    def __init__(self, ledger: Ledger, *, of_round: int = 0) -> None:
        self.ledger = ledger
        self._round = of_round

    @property
    def round(self) -> int:
        """Counted from 1."""
        return self._round or self.ledger.round

    def of_round(self, number: int) -> State:
        """The state of another round."""
        return State(self.ledger, of_round=number)

    @property
    def base(self) -> Version | None:
        """The student that the round begins with; None until it is known."""
        name = self._base
        return Version(name, self._base_weights, self._base_processor) if name else None

    @base.setter
    def base(self, version: Version) -> None:
        self._base = version.name
        self._base_weights = version.weights_sha256
        self._base_processor = version.processor_sha256

    @property
    def the_base(self) -> Version:
        """The student that the round begins with. Raises WrongState if it is not known yet."""
        return _known(self.base, "has not asked its student yet: `mpa-orch identify` does")

    @property
    def candidate(self) -> Version | None:
        """The student that the round has trained; None until then."""
        name = self._candidate
        return Version(name, self._candidate_weights) if name else None

    @candidate.setter
    def candidate(self, version: Version) -> None:
        self._candidate_weights = version.weights_sha256
        self._candidate = version.name

    @property
    def the_candidate(self) -> Version:
        """The student that the round has trained. Raises WrongState before that."""
        return _known(self.candidate, "has no candidate yet: `mpa-orch level` trains one")

    @property
    def pilot(self) -> Pilot | None:
        """The draw of a quote; None in any other run."""
        keys = self._pilot_keys
        return Pilot(keys, self._pilot_pool) if keys else None

    @pilot.setter
    def pilot(self, pilot: Pilot) -> None:
        self._pilot_pool = pilot.pool
        self._pilot_keys = pilot.keys

    @property
    def swap(self) -> Swap:
        return Swap(self._swap_requests, self._swap_failed, self._swap_first_failure)

    @swap.setter
    def swap(self, swap: Swap) -> None:
        self._swap_requests = swap.requests
        self._swap_failed = swap.failed
        self._swap_first_failure = swap.first_failure

    def teacher(self, seat: int = 0) -> str:
        """Fingerprint of the teacher in that seat, counted from 0; "" until it has answered."""
        return self.ledger.meta(_seat(seat))

    def set_teacher(self, seat: int, fingerprint: str) -> None:
        self.ledger.set_meta(_seat(seat), fingerprint)

    @property
    def teachers(self) -> list[str]:
        """Fingerprints of all teachers that have answered, by seat."""
        return list(takewhile(bool, map(self.teacher, count())))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each stage, over all interruptions."""
        return {name: float(text) for name, text in self.ledger.metas(SECONDS).items()}

    def add_seconds(self, stage: str, seconds: float) -> None:
        spent = float(self.ledger.meta(SECONDS + stage) or 0) + seconds
        self.ledger.set_meta(SECONDS + stage, f"{spent:.3f}")

    def leaks_state(self, image_set: str) -> str:
        """The state of an evaluation set when its images were read; "" if they never were."""
        return self.ledger.meta(LEAKS + image_set)

    def set_leaks_state(self, image_set: str, state: str) -> None:
        self.ledger.set_meta(LEAKS + image_set, state)


def _seat(number: int) -> str:
    return f"teacher.{number + 1}" if number else "teacher"


def _known(version: Version | None, otherwise: str) -> Version:
    if version is None:
        raise WrongState(f"the run {otherwise}")
    return version
