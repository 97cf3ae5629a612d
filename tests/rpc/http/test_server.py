"""Shutdown: no request is lost, and no new caller is accepted."""

import asyncio
import json
import socket

import httpx

from tests.rpc.http.peers import get, http_peer, post, read_reply
from tests.waiting import until

ASKED = {"image": "aGk=", "question": "what?"}
GOOD = post(json.dumps(ASKED).encode())


async def leave(peer, lame_duck_s=0.3):
    peer.http.begin_to_leave()
    await asyncio.sleep(lame_duck_s)
    await peer.http.stop_listening()
    peer.server.should_exit = True


async def test_kept_and_new_connections_lose_nothing():
    answered, failures = 0, []

    async def keep_asking(peer, client, gone):
        nonlocal answered
        while not gone.is_set():
            try:
                reply = await client.post(f"{peer.url}/v1/vqa", json=ASKED)
            except httpx.ConnectError:
                return  # refused: the service has ended
            except httpx.HTTPError as error:
                failures.append(repr(error))
                return
            assert reply.status_code == 200
            answered += 1

    async with http_peer() as peer:
        gone = asyncio.Event()
        limits = httpx.Limits(max_keepalive_connections=1)
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            clients = [httpx.AsyncClient(limits=limits) for _ in range(16)]
            for client in clients:
                group.create_task(keep_asking(peer, client, gone))
            for _ in range(8):
                new = httpx.AsyncClient(headers={"connection": "close"})
                clients.append(new)
                group.create_task(keep_asking(peer, new, gone))
            await until(lambda: answered > 50)
            await leave(peer)
        for client in clients:
            await client.aclose()
    assert failures == []
    assert answered > 50


async def test_a_connection_that_is_kept_is_told_to_close_and_still_served():
    async with http_peer() as peer:
        reader, writer = await peer.connect(GOOD)
        assert "connection" not in (await read_reply(reader))[1]
        peer.http.begin_to_leave()
        writer.write(GOOD)
        status, headers, _ = await read_reply(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""
        reader, _ = await peer.connect(GOOD)
        status, headers, _ = await read_reply(reader)
        assert (status, headers["connection"]) == (200, "close")


async def test_a_request_under_way_is_told_too():
    async with http_peer() as peer:
        peer.servicer.open.clear()
        reader, _ = await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 1)
        await leave(peer, 0)
        peer.servicer.open.set()
        status, headers, _ = await read_reply(reader)
        assert (status, headers["connection"]) == (200, "close")


async def test_whoever_had_connected_is_served_and_whoever_comes_later_is_refused_at_once():
    async with http_peer() as peer:
        connected = [await peer.connect() for _ in range(20)]
        await leave(peer, 0)
        for reader, writer in connected:
            writer.write(GOOD)
            assert (await read_reply(reader))[0] == 200
        try:
            await peer.connect(get("/livez"))
        except ConnectionRefusedError:
            return
        raise AssertionError("somebody still takes connections")


async def test_callers_in_the_systems_queue_are_served():
    """The server has not accepted them yet: nothing else ran since they connected."""
    async with http_peer() as peer:
        queued = [socket.create_connection(("127.0.0.1", peer.port)) for _ in range(20)]
        await peer.http.stop_listening()
        for each in queued:
            reader, writer = await asyncio.open_connection(sock=each)
            writer.write(GOOD)
            assert (await read_reply(reader))[0] == 200
            writer.close()


async def test_an_idle_connection_does_not_hold_the_service_up():
    async with http_peer() as peer:
        reader, _ = await peer.connect(GOOD)
        await read_reply(reader)
        await leave(peer, 0)
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_a_request_that_does_not_end_is_given_up_after_the_grace():
    async with http_peer(grace_s=1) as peer:
        peer.servicer.open.clear()
        reader, _ = await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 1)
        await leave(peer, 0)
        await until(lambda: peer.servicer.cancelled == 1)
        await asyncio.wait_for(reader.read(), 20)
