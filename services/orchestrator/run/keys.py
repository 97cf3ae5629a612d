"""Typed values that a ledger keeps as texts under keys.

Each round has its own value under a key `of_a_round`: "outcome" is the first round's,
"round.2.outcome" the second's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar, overload

from services.orchestrator.run.ledger import Ledger

Value = TypeVar("Value")
YES = "yes"


class KeyedState(Protocol):
    """Owner of such values."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def round(self) -> int: ...


class StateKey(Generic[Value]):
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
    def __get__(self, state: None, owner: type[KeyedState]) -> Self: ...
    @overload
    def __get__(self, state: KeyedState, owner: type[KeyedState]) -> Value: ...

    def __get__(self, state: KeyedState | None, owner: type[KeyedState]) -> Self | Value:
        if state is None:
            return self
        return self._read(state.ledger.meta(self._key(state)))

    def __set__(self, state: KeyedState, value: Value) -> None:
        state.ledger.set_meta(self._key(state), self._write(value))

    def _key(self, state: KeyedState) -> str:
        is_later = self._of_a_round and state.round > 1
        return f"round.{state.round}.{self._name}" if is_later else self._name


def text_key(name: str, *, of_a_round: bool = False) -> StateKey[str]:
    return StateKey(name, str, of_a_round=of_a_round)


def flag(name: str) -> StateKey[bool]:
    return StateKey(name, bool, lambda value: YES if value else "", of_a_round=True)


def number(name: str, otherwise: int = 0, *, of_a_round: bool = False) -> StateKey[int]:
    return StateKey(name, lambda text: int(text or otherwise), of_a_round=of_a_round)
