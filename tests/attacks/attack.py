"""Attacks of a single request, with their allowed outcomes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.attacks.bystander import besieged
from tests.attacks.outcomes import MOST_SAID, Outcome, call_once, raw, request
from tests.attacks.target import Target


@dataclass(frozen=True)
class Attack:
    """A request to a target. `expected`: the allowed statuses."""

    name: str
    send: Callable[[Target], Awaitable[Outcome]]
    expected: tuple[str, ...]

    def __str__(self):
        return self.name


def over_grpc(name, method, *requests, expected=("INVALID_ARGUMENT",)):
    async def send(target):
        return await call_once(target.address, method, *requests)

    return Attack(f"gRPC: {name}", send, expected)


def over_http(name, expected=("400",), **sent):
    async def send(target):
        return await request(target.url, **sent)

    return Attack(f"HTTP: {name}", send, expected)


def over_socket(name, *pieces, expected=("400",), **how):
    """An attack by bytes of HTTP/1.1, written piece by piece."""

    async def send(target):
        return await raw(target.service.http_port, *pieces, **how)

    return Attack(f"socket: {name}", send, expected)


async def withstand(target, *attacks):
    """Sends the requests in turn: each must be answered as expected, and harm nobody."""
    async with besieged(target):
        outcomes = [await attack.send(target) for attack in attacks]
    for attack, outcome in zip(attacks, outcomes, strict=True):
        assert outcome.status in attack.expected, (
            f"{attack}: {outcome.status}: {outcome.said[:1000]}"
        )
        if outcome.status not in ("OK", "200"):
            assert len(outcome.said) <= MOST_SAID, (
                f"{len(outcome.said)} characters: {outcome.said[:200]} ..."
            )
