"""Limits of a key: rates, requests at the same time, and images."""

from contextlib import ExitStack

import grpc
import pytest
from google.longrunning import operations_pb2

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.rpc.access.allowance import Allowance, default_limits, effective
from services.rpc.access.keys import KeyLimits
from services.rpc.status import from_rpc_error
from tests.rpc.access.keyring import bearing
from tests.rpc.callers import asking, serving


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def one(allowance):
    with allowance.request():
        pass


def test_a_minute_has_so_many_requests(clock):
    allowance = Allowance(KeyLimits(requests_per_minute=30), clock)
    for _ in range(30):
        one(allowance)
    with pytest.raises(Overloaded, match="30 requests per minute") as refused:
        one(allowance)
    assert refused.value.retry_after_s == pytest.approx(2.0)
    assert refused.value.limit == "key_requests_per_minute"
    clock.now += 2.001
    one(allowance)
    with pytest.raises(Overloaded):
        one(allowance)
    clock.now += 3600
    for _ in range(30):
        one(allowance)
    with pytest.raises(Overloaded):
        one(allowance)


def test_requests_under_way_are_limited(clock):
    allowance = Allowance(KeyLimits(concurrent=2), clock)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(allowance.request())
        with pytest.raises(Overloaded, match="2 requests under way"):
            one(allowance)
    one(allowance)


@pytest.mark.parametrize("name", ["bytes", "pixels"])
def test_an_image_may_exceed_what_is_left_and_the_next_one_waits(clock, name):
    allowance = Allowance(KeyLimits(**{f"{name}_per_minute": 600}), clock)
    one(allowance)
    amounts = {"size_bytes": 0, "pixels": 0}
    allowance.spend(**{**amounts, "size_bytes" if name == "bytes" else "pixels": 1200})
    with pytest.raises(Overloaded, match=f"600 {name} per minute") as refused:
        one(allowance)
    assert refused.value.retry_after_s == pytest.approx(60.1, abs=0.2)
    clock.now += refused.value.retry_after_s + 0.001
    one(allowance)


def test_a_key_without_limits_takes_those_of_the_service():
    env = Environment(
        "MPA_STUDENT_",
        {"MPA_STUDENT_KEY_CONCURRENT": "5", "MPA_STUDENT_KEY_REQUESTS_PER_MINUTE": "7"},
    )
    default = default_limits(env)
    assert effective(KeyLimits(concurrent=9), default) == KeyLimits(
        requests_per_minute=7, concurrent=9
    )
    wrong = Environment("MPA_STUDENT_", {"MPA_STUDENT_KEY_CONCURRENT": "-1"})
    with pytest.raises(InvalidInput, match="MPA_STUDENT_KEY_CONCURRENT is -1"):
        default_limits(wrong)


async def test_control_calls_are_counted_and_other_keys_go_on(keys):
    keys.add("few", "read", limits=KeyLimits(requests_per_minute=1))
    request = operations_pb2.GetOperationRequest(name="o")
    async with serving(keys.access()) as peer:
        few, other = (bearing(keys.tokens[name]) for name in ("few", "read"))
        await peer.operations.GetOperation(request, metadata=few)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await peer.operations.GetOperation(request, metadata=few)
        error = from_rpc_error(refused.value)
        assert isinstance(error, Overloaded)
        assert 50 < error.retry_after_s <= 60
        for _ in range(5):
            await peer.operations.GetOperation(request, metadata=other)
        assert (
            await peer.answers.Answer(asking("?"), metadata=bearing(keys.tokens["ask"]))
        ).answer == "?"
