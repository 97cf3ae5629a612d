"""Ten times as many questions as the model can answer: the others are refused at once.

Benchmarks measure speed and numbers. These tests check that no caller hangs, that all replies are
answers or refusals, that health and control calls have separate room, and that the next caller is
served afterwards.
"""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from tests.attacks.bystander import IMAGE, bystander_of
from tests.attacks.outcomes import ANSWER, call_once, method_of
from tests.attacks.target import MIB, MOST_MORE_BYTES, PATIENCE_S

pytestmark = pytest.mark.slow
CAPACITY = 20
"""Answers per second: batches of 4 that take 0.2 s each."""
SECONDS = 6
WAITS_S = 10.0


async def ask_grpc(channel, number):
    request = student_pb2.AnswerRequest(
        image=types_pb2.Image(data=IMAGE), question=f"what is {number}?"
    )
    try:
        await method_of(channel, ANSWER)(request, timeout=WAITS_S)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def ask_http(http, number):
    try:
        response = await http.post(
            "/v1/vqa", files={"image": IMAGE}, data={"question": f"what is {number}?"}
        )
    except httpx.TimeoutException:
        return "DEADLINE_EXCEEDED"
    return {200: "OK", 429: "RESOURCE_EXHAUSTED"}.get(
        response.status_code, str(response.status_code)
    )


def caller_at(target, address):
    """A caller at `address`: a single one may not use all the room of the service."""
    limits = httpx.Limits(max_connections=200)
    transport = httpx.AsyncHTTPTransport(verify=False, local_address=address, limits=limits)
    return httpx.AsyncClient(base_url=target.url, timeout=WAITS_S, transport=transport)


async def overload(ask):
    """Sends ten times the capacity at an even rate, from callers that wait a few seconds."""
    asked = []
    for number in range(10 * CAPACITY * SECONDS):
        asked.append(asyncio.create_task(ask(number)))
        if number % 10 == 9:
            await asyncio.sleep(10 / (10 * CAPACITY))
    return Counter(await asyncio.wait_for(asyncio.gather(*asked), 60))


async def operate(target, done):
    """Makes the health and control calls of balancers and operators."""
    async with httpx.AsyncClient(base_url=target.url, timeout=PATIENCE_S) as http:
        while True:
            assert (await http.get("/livez")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            listed = await call_once(
                target.address,
                "/mpa.v1.VersionService/ListVersions",
                versions_pb2.ListVersionsRequest(),
            )
            assert listed.status == "OK", listed.said
            done.append(time.monotonic())
            await asyncio.sleep(0.3)


@pytest.mark.alone
@pytest.mark.parametrize("protocol", ["gRPC", "HTTP"])
async def test_ten_times_the_capacity(slow_student, protocol):
    target, before, operated = slow_student, slow_student.resident_bytes(), []
    target.is_wounded = True
    async with grpc.aio.insecure_channel(target.address) as channel, AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(caller_at(target, f"127.0.0.{last}"))
            for last in range(11, 21)
        ]
        asks = {
            "gRPC": lambda n: ask_grpc(channel, n),
            "HTTP": lambda n: ask_http(callers[n % len(callers)], n),
        }
        operating = asyncio.create_task(operate(target, operated))
        counts = await overload(asks[protocol])
        assert not operating.done(), operating.exception()
        operating.cancel()
    assert set(counts) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}, counts
    assert operated
    assert counts["OK"] >= 0.4 * CAPACITY * SECONDS, f"goodput went away: {counts}"
    assert counts["DEADLINE_EXCEEDED"] <= 0.1 * counts.total(), (
        f"callers were left waiting: {counts}"
    )
    async with bystander_of(target) as bystander:
        await bystander.is_served()
        assert not bystander.failures
    assert target.resident_bytes() - before < MOST_MORE_BYTES, (
        f"{target.resident_bytes() / MIB:,.0f} MiB"
    )
    assert not target.complaint()
    target.is_wounded = False


async def test_one_caller_of_ten_thousand_images_in_bulk(slow_student):
    """One stream asks far more than the model can answer; others are served when they retry."""
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")

    async with grpc.aio.insecure_channel(slow_student.address) as channel:
        bulk = method_of(channel, "/mpa.v1.StudentService/AnswerStream")()

        async def write():
            for number in range(10_000):
                await bulk.write(student_pb2.AnswerStreamRequest(id=str(number), request=request))

        writing = asyncio.create_task(write())
        await asyncio.sleep(1)
        async with bystander_of(slow_student, repeats=True) as bystander:
            await bystander.is_served(1)
            assert not bystander.failures
        writing.cancel()
        bulk.cancel()
        await asyncio.gather(writing, return_exceptions=True)
