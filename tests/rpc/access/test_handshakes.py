"""TLS handshakes over HTTP: those that never end, and the beginning and end of others."""

import asyncio
from typing import Any

import pytest
import uvloop

from tests.rpc.access.test_tls import client_context, post, secure
from tests.rpc.http.peers import http_peer
from tests.waiting import until


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_handshake_that_is_never_done_is_let_go_after_a_time(tls, first):
    async with http_peer(access=secure(tls=tls), headers_s=0.3) as peer:
        reader, _ = await peer.connect(first)
        assert b"HTTP" not in await asyncio.wait_for(reader.read(), 60)
        await until(lambda: not peer.connections and not len(peer.entrance.waiting))


async def test_half_done_handshakes_push_out_each_other_and_nobody_else(tls, authority):
    limits = {"connections": 50, "connections_per_caller": 40}
    async with http_peer(access=secure(tls=tls), **limits) as peer:
        for _ in range(300):
            await peer.connect(b"\x16\x03\x01")
        await until(lambda: peer.connections <= 40)
        assert (await post(peer, client_context(authority))).json()["answer"] == "why?"


async def test_a_caller_who_does_not_say_goodbye_is_let_go(tls, authority):
    """asyncio waits half a minute for the end of TLS."""
    async with http_peer(access=secure(tls=tls)) as peer:
        context = client_context(authority)
        _, writer = await asyncio.open_connection("127.0.0.1", peer.port, ssl=context)
        reading: Any = writer.transport
        reading.pause_reading()
        writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await until(lambda: not peer.connections, timeout_s=15)
        writer.transport.abort()


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_bytes_that_come_with_the_end_of_the_handshake_are_read(tls, authority, kind):
    """Many callers at once, whose request is under way with the last message of the handshake."""

    async def ask_often():
        async with http_peer(access=secure(tls=tls)) as peer:
            context = client_context(authority)
            for _ in range(5):
                replies = await asyncio.gather(*(post(peer, context) for _ in range(20)))
                assert {reply.status_code for reply in replies} == {200}
            await until(lambda: not peer.connections)

    make = asyncio.new_event_loop if kind == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(ask_often())
