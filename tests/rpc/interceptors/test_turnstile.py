"""Room for calls: separate for each kind, and for each address."""

from contextlib import ExitStack

import pytest

from services.core.errors import Overloaded
from services.rpc.interceptors.turnstile import (
    ANSWERS,
    CALL_LIMITS,
    CONTROL,
    HEALTH,
    STREAMS,
    Turnstile,
)

MOST = 4


def peer(number, address="10.0.0.1"):
    return f"ipv4:{address}:{number}"


@pytest.fixture
def crowded():
    """A turnstile in which the address 10.0.0.1 has as many answers open as allowed."""
    turnstile = Turnstile(MOST)
    with ExitStack() as stack:
        for number in range(MOST):
            stack.enter_context(turnstile.entered(ANSWERS, peer(number)))
        yield turnstile


def test_an_address_has_so_many_calls_of_a_kind(crowded):
    refused = r"4 answers are open from ipv4:10\.0\.0\.1"
    with pytest.raises(Overloaded, match=refused), crowded.entered(ANSWERS, peer(99)):
        pass
    with (
        crowded.entered(ANSWERS, peer(99, "10.0.0.2")),
        crowded.entered(ANSWERS, peer(99, "127.0.0.1")),
    ):
        pass


@pytest.mark.parametrize("what", [STREAMS, CONTROL, HEALTH])
def test_answers_of_an_address_take_no_room_of_other_calls(crowded, what):
    with crowded.entered(what, peer(99)):
        pass


@pytest.mark.parametrize("what", [CONTROL, HEALTH])
def test_health_and_control_calls_are_not_counted_by_address(what):
    turnstile = Turnstile(MOST)
    with ExitStack() as stack:
        for number in range(CALL_LIMITS[what].total):
            stack.enter_context(turnstile.entered(what, peer(number)))
