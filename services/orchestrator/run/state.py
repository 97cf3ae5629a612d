"""The state of a run: how far it has come and what it has found, each under a typed name.

The ledger keeps texts under keys, which this module alone knows. Each round has its own value of the
keys `of_a_round`: "outcome" is the first round's, "round.2.outcome" the second's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import count, takewhile
from typing import Generic, Self, TypeVar, overload

from services.core.errors import WrongState
from services.orchestrator.run.evaluation import RunEvaluation
from services.orchestrator.run.ledger import PRODUCTION, Ledger

Value = TypeVar("Value")
SECONDS, LEAKS = "seconds.", "leaks."
YES = "yes"


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
    """The images that a quote goes through: their `keys`, out of a `pool` of that many."""

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


class Key(Generic[Value]):
    """A typed value of the state, kept as a text under `name`; the text "" means not set."""

    def __init__(
        self,
        name: str,
        read: Callable[[str], Value],
        write: Callable[[Value], str] = str,
        *,
        of_a_round: bool = False,
    ) -> None:
        self._name = name
        self._read = read
        self._write = write
        self._of_a_round = of_a_round

    @overload
    def __get__(self, state: None, owner: type[State]) -> Self: ...
    @overload
    def __get__(self, state: State, owner: type[State]) -> Value: ...

    def __get__(self, state: State | None, owner: type[State]) -> Self | Value:
        if state is None:
            return self
        return self._read(state._ledger.meta(self._key(state)))

    def __set__(self, state: State, value: Value) -> None:
        state._ledger.set_meta(self._key(state), self._write(value))

    def _key(self, state: State) -> str:
        is_later = self._of_a_round and state.round > 1
        return f"round.{state.round}.{self._name}" if is_later else self._name


def _text(name: str, *, of_a_round: bool = False) -> Key[str]:
    return Key(name, str, of_a_round=of_a_round)


def _flag(name: str) -> Key[bool]:
    return Key(name, bool, lambda value: YES if value else "", of_a_round=True)


def _number(name: str, otherwise: int = 0, *, of_a_round: bool = False) -> Key[int]:
    return Key(name, lambda text: int(text or otherwise), of_a_round=of_a_round)


class State:
    """State of the ledger's present round, or of the round `of_round`."""

    __slots__ = ("_ledger", "_round")

    id = _text("id")
    """Name of the run in requests and in the manifests of versions."""
    settings = _text("settings")
    """Settings as JSON; "" before the run has begun."""
    rounds = _number("rounds", otherwise=1)
    """Most rounds, by the last command."""
    until_gap: Key[float] = Key("until_gap", lambda text: float(text or 0))
    """Smallest gap rate (0 to 1) that is trained, by the last command."""
    production: Key[tuple[str, ...]] = Key(
        PRODUCTION, lambda text: tuple(json.loads(text or "[]")), json.dumps
    )
    """Folders of users' requests, by the last command."""
    ignored = _text("ignored")
    """Files next to the images that are no images, for people."""
    leaked_into_training = _number("leaks_used")
    """Images of an evaluation set that had been trained on before they were found."""
    worked_s: Key[float] = Key(
        "worked_s", lambda text: float(text or 0), lambda value: f"{value:.1f}"
    )
    """Seconds that count towards --max-hours."""
    training_pace: Key[TrainingPace] = Key(
        "pilot.training",
        lambda text: TrainingPace(**json.loads(text or "{}")),
        lambda value: json.dumps(asdict(value)),
    )
    """Pace that a quote predicts the training by."""

    focus: Key[dict[str, int]] = Key(
        "focus", lambda text: json.loads(text or "{}"), json.dumps, of_a_round=True
    )
    """Kinds of questions to ask for, each with its count in the gap of the round before."""
    annotated = _flag("done.annotate")
    answered = _flag("done.answer")
    """Whether the student has answered every annotated question, while it had the device."""
    identified = _flag("done.identify")
    labelled = _text("done.labelled", of_a_round=True)
    """Path of the labelled set that the teacher has answered, while it had the device."""
    mixed = _text("version.mixed", of_a_round=True)
    """Why the answers come from two students; "" if they don't."""
    parity_set: Key[int | None] = Key(
        "parity_set", lambda text: int(text) if text else None, str, of_a_round=True
    )
    """Number of samples; None before they are chosen."""
    training_confirmed = _flag("training.confirmed")
    training_begun = _flag("training.begun")
    evaluation: Key[RunEvaluation | None] = Key(
        "evaluation",
        lambda text: RunEvaluation.from_json(text) if text else None,
        lambda value: value.to_json() if value else "",
        of_a_round=True,
    )
    outcome: Key[Outcome | None] = Key(
        "outcome",
        lambda text: Outcome(text) if text else None,
        lambda value: value or "",
        of_a_round=True,
    )
    """None until the round is over."""
    reason = _text("reason", of_a_round=True)
    """Reason of the outcome, for people."""

    _base = _text("version.before", of_a_round=True)
    _base_weights = _text("version.before.weights", of_a_round=True)
    _base_processor = _text("version.before.processor", of_a_round=True)
    _candidate = _text("version.after", of_a_round=True)
    _candidate_weights = _text("version.after.weights", of_a_round=True)
    _pilot_pool = _number("pilot.pool")
    _pilot_keys: Key[tuple[str, ...]] = Key(
        "pilot.keys", lambda text: tuple(json.loads(text or "[]")), json.dumps
    )
    _swap_requests = _number("swap.requests", of_a_round=True)
    _swap_failed = _number("swap.failed", of_a_round=True)
    _swap_first_failure = _text("swap.first_failure", of_a_round=True)

    def __init__(self, ledger: Ledger, *, of_round: int = 0) -> None:
        self._ledger = ledger
        self._round = of_round

    @property
    def round(self) -> int:
        """Counted from 1."""
        return self._round or self._ledger.round

    def of_round(self, number: int) -> State:
        """The state of another round."""
        return State(self._ledger, of_round=number)

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
        return _known(self.base, "has not met its student yet: `mpa-orch identify` asks it")

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
        return self._ledger.meta(_seat(seat))

    def set_teacher(self, seat: int, fingerprint: str) -> None:
        self._ledger.set_meta(_seat(seat), fingerprint)

    @property
    def teachers(self) -> list[str]:
        """Fingerprints of all teachers that have answered, by seat."""
        return list(takewhile(bool, map(self.teacher, count())))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each stage, over all interruptions."""
        return {name: float(text) for name, text in self._ledger.metas(SECONDS).items()}

    def add_seconds(self, stage: str, seconds: float) -> None:
        spent = float(self._ledger.meta(SECONDS + stage) or 0) + seconds
        self._ledger.set_meta(SECONDS + stage, f"{spent:.3f}")

    def leaks_state(self, image_set: str) -> str:
        """The state of an evaluation set when its images were read; "" if they never were."""
        return self._ledger.meta(LEAKS + image_set)

    def set_leaks_state(self, image_set: str, state: str) -> None:
        self._ledger.set_meta(LEAKS + image_set, state)


def _seat(number: int) -> str:
    return f"teacher.{number + 1}" if number else "teacher"


def _known(version: Version | None, otherwise: str) -> Version:
    if version is None:
        raise WrongState(f"the run {otherwise}")
    return version
