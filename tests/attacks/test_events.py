"""Callers of streamed chats who read slowly, not at all, or leave."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack

import pytest

from tests.attacks.bystander import besieged
from tests.attacks.outcomes import request
from tests.attacks.target import PATIENCE_S
from tests.attacks.test_completions import PATH, data_url, part, turn
from tests.http2 import connected
from tests.waiting import until, until_awaited

pytestmark = pytest.mark.slow


def asked(**fields):
    sent = {"messages": [turn(part(data_url()))], "stream": True, **fields}
    body = json.dumps(sent).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def test_events_that_nobody_reads(student):
    """Their connections end; what they hold is bounded."""
    async with besieged(student) as bystander:
        callers = []
        for _ in range(50):
            caller = socket.create_connection(("127.0.0.1", student.service.http_port))
            caller.sendall(asked(n=8, logprobs=True, top_logprobs=5))
            callers.append(caller)
        await bystander.is_served()
        for caller in callers:
            caller.close()


async def test_events_that_are_read_a_byte_at_a_time(student):
    async with besieged(student) as bystander:
        reader, writer = await asyncio.open_connection("127.0.0.1", student.service.http_port)
        writer.write(asked())
        for _ in range(100):
            if not await reader.read(1):
                break
            await asyncio.sleep(0.01)
        await bystander.is_served()
        writer.close()


async def test_streams_that_are_begun_and_left(student):
    async with besieged(student) as bystander:
        for _ in range(20):
            async with AsyncExitStack() as stack:
                for _ in range(20):
                    await stack.enter_async_context(
                        connected(student.service.http_port, asked(n=8))
                    )
        await bystander.is_served()


async def test_streams_that_are_left_free_their_room(slow_student):
    """Nobody waits for answers to callers who have gone."""
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(connected(slow_student.service.http_port, asked()))
        await asyncio.sleep(0.3)
    await until_awaited(lambda: _is_answered(slow_student), PATIENCE_S)


async def _is_answered(target, **headers):
    sent = {"messages": [turn(part(data_url()))], "stream": True}
    outcome = await request(target.url, path=PATH, json=sent, headers=headers)
    return outcome.status == "200" and outcome.said.rstrip().endswith("[DONE]")


async def test_streams_of_a_revoked_key(guarded, keys):
    token = keys.add("streaming", "ask")
    async with besieged(guarded):
        await until_awaited(lambda: _is_answered(guarded, authorization=f"Bearer {token}"))
        keys.revoke("streaming")

        async def is_refused():
            return not await _is_answered(guarded, authorization=f"Bearer {token}")

        await until_awaited(is_refused)


async def test_half_an_event_stream_and_another_request(student):
    """A second request on the same connection, before the events of the first have ended."""
    async with besieged(student) as bystander:
        async with connected(student.service.http_port, asked() + asked()) as caller:
            assert await caller.is_hung_up(PATIENCE_S)
            assert caller.received.count(b"HTTP/1.1 200") <= 1
        await bystander.is_served()
    await until(lambda: not student.complaint())
