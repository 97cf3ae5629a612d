"""Connections that hang, flood, pipeline or never read, next to a caller who is served."""

import asyncio
import json

import pytest

from tests.rpc.http.peers import get, http_peer, post, read_reply, reason
from tests.waiting import until

GOOD = post(json.dumps({"image": "aGk=", "question": "what?"}).encode())


async def ask(peer):
    reader, writer = await peer.connect(GOOD)
    status, _, body = await read_reply(reader)
    writer.close()
    return status, json.loads(body)["answer"]


async def test_half_sent_headers_are_let_go_after_a_time():
    async with http_peer(headers_s=0.2) as peer:
        reply = await peer.exchange(b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\n")
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert reason(reply.partition(b"\r\n\r\n")[2]) == "TIMEOUT"
        assert b"connection: close" in reply
        assert b"x-request-id: " in reply


async def test_headers_that_trickle_are_let_go_after_the_same_time():
    async with http_peer(headers_s=0.3) as peer:
        reader, writer = await peer.connect(b"GET /livez HTTP/1.1\r\n")
        trickling = asyncio.create_task(trickle(writer))
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 408 ")
        trickling.cancel()


async def trickle(writer):
    for number in range(10_000):
        writer.write(f"x-{number}: 1\r\n".encode())
        await asyncio.sleep(0.01)


async def test_a_connection_that_says_nothing_is_let_go_after_a_time():
    async with http_peer(headers_s=0.2) as peer:
        assert await peer.exchange() == b""


async def test_a_body_that_does_not_come_is_let_go_after_a_time_and_its_request_with_it():
    async with http_peer(body_s=0.2) as peer:
        reply = await peer.exchange(post(b"{", length=1000))
        assert reply.startswith(b"HTTP/1.1 408 ")
        await until(lambda: peer.entrance.requests.total == peer.entrance.uploads.total == 0)
        assert peer.servicer.begun == 0


async def test_thousands_of_half_sent_headers_push_out_each_other_and_nobody_else():
    async with http_peer(connections=50, connections_per_caller=40) as peer:
        held = [await peer.connect(b"POST /v1/vqa HTTP/1.1\r\nx: y") for _ in range(500)]
        await until(lambda: peer.connections <= 40)
        assert await ask(peer) == (200, "what?")
        for reader, _ in held[:400]:
            assert await asyncio.wait_for(_ended(reader), 60)
        assert peer.connections <= 41


async def test_hundreds_of_half_sent_bodies_push_out_each_other_and_nobody_else():
    async with http_peer(
        connections=50, connections_per_caller=40, requests=5, requests_per_caller=5
    ) as peer:
        for _ in range(300):
            await peer.connect(post(b"{", length=100_000))
        await until(lambda: peer.connections <= 40)
        assert await ask(peer) == (200, "what?")
        await until(lambda: peer.entrance.uploads.total <= 40)


async def _ended(reader):
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_headers_without_an_end_are_refused():
    async with http_peer() as peer:
        reply = await peer.exchange(b"GET /livez HTTP/1.1\r\nx: ", b"y" * 50_000, b"y" * 50_000)
        assert reply.startswith(b"HTTP/1.1 431 ")
        assert reason(reply.partition(b"\r\n\r\n")[2]) == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\x00: y\r\n\r\n",
        b"GET /liv\xffez HTTP/1.1\r\n\r\n",
        b"POST /v1/vqa HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/vqa HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"POST /v1/vqa HTTP/1.1\r\ncontent-length: 99999999999999999999999999\r\n\r\n",
        b"POST /v1/vqa HTTP/1.1\r\ncontent-length: 3\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/vqa HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nHOST: y\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_http_are_a_400_in_our_shape(sent):
    async with http_peer(headers_s=2) as peer:
        reply = await peer.exchange(sent)
        assert reply.startswith(b"HTTP/1.1 400 "), reply
        assert reason(reply.partition(b"\r\n\r\n")[2]) == "INVALID_REQUEST"


CHUNKED = (
    b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LINE = b"x: " + b"y" * 60_000 + b"\r\n"
ENDLESS = {
    "trailers": (b"1\r\n{\r\n0\r\n", LINE),
    "one trailer": (b"1\r\n{\r\n0\r\nx: ", b"y" * 60_000),
    "an extension of a chunk": (b"1;a=", b"y" * 60_000),
    "chunks of one byte": (b"", b"1\r\n{\r\n" * 10_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_much_around_a_body_is_refused(kind):
    first, more = ENDLESS[kind]
    async with http_peer() as peer:
        reader, writer = await peer.connect(CHUNKED + first)
        reading = asyncio.create_task(reader.readline())
        sent = 0
        while not reading.done() and sent < 2**24:
            writer.write(more)
            await writer.drain()
            sent += len(more)
            await asyncio.sleep(0)
        assert (await asyncio.wait_for(reading, 60)).startswith(b"HTTP/1.1 400 ")
        assert await ask(peer) == (200, "what?")


async def test_a_large_body_in_small_chunks_is_read():
    body = GOOD.partition(b"\r\n\r\n")[2].replace(b"aGk=", b"aGkh" * 50_000)
    pieces = [body[at : at + 16] for at in range(0, len(body), 16)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    async with http_peer() as peer:
        reader, _ = await peer.connect(CHUNKED + chunks + b"0\r\nx: y\r\n\r\n")
        assert (await read_reply(reader))[0] == 200


async def test_a_refused_caller_who_waits_to_be_let_continue_is_only_refused(caplog):
    head = (
        b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\n"
        b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    async with http_peer() as peer:
        assert (await peer.exchange(head + b"no chunk\r\n")).startswith(b"HTTP/1.1 400 ")
        assert await ask(peer) == (200, "what?")
    assert "Traceback" not in caplog.text


async def test_requests_in_a_row_without_waiting_are_not_queued():
    """Only one request is read; the connection closes after its reply."""
    async with http_peer() as peer:
        peer.servicer.open.clear()
        reader, _ = await peer.connect(GOOD, *[GOOD] * 5000)
        await until(lambda: peer.servicer.begun == 1)
        peer.servicer.open.set()
        status, headers, _ = await read_reply(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""
        assert peer.servicer.answered == 1


async def test_a_connection_can_be_used_again():
    async with http_peer() as peer:
        reader, writer = await peer.connect()
        for _ in range(20):
            writer.write(GOOD)
            status, headers, _ = await read_reply(reader)
            assert status == 200
            assert "connection" not in headers
        assert peer.connections == 1


async def test_a_reply_that_nobody_reads_is_let_go():
    async with http_peer(write_s=0.3) as peer:
        await peer.connect(get("/readyz"))
        await until(lambda: peer.connections == 1)
        await until(lambda: peer.connections == 0)


async def test_an_offer_to_upgrade_is_not_taken_up():
    async with http_peer() as peer:
        for protocol in ("websocket", "h2c"):
            headers = (
                f"upgrade: {protocol}",
                "connection: upgrade",
                "sec-websocket-key: x",
                "sec-websocket-version: 13",
            )
            reader, _ = await peer.connect(get("/livez", *headers))
            status, headers, _ = await read_reply(reader)
            assert (status, headers["connection"]) == (200, "close")


async def test_the_rest_of_a_body_that_is_not_wanted_is_not_read_for_ever():
    async with http_peer() as peer:
        reader, writer = await peer.connect(post(b"", length=10**9))
        status, _, body = await read_reply(reader)
        assert (status, reason(body)) == (413, "REQUEST_TOO_LARGE")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 10**8:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        assert await ask(peer) == (200, "what?")
