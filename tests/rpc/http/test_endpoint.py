"""Calls over a real port: answered, given up, refused, failed, each with its id."""

import asyncio
import json
import logging
import threading

import httpx
import pytest
from PIL import Image

from protos.mpa.v1 import student_pb2
from services.core.decoding import Decoding
from services.core.errors import NotFound, Overloaded, WrongState
from services.engines.batching import MicroBatcher
from services.engines.images import LoadedImage
from services.engines.model import Prompt, Reply
from services.rpc.load_shedding import LoadSettings, LoadShedder
from tests.rpc.http.peers import Servicer, get, http_peer, post, read_reply, reason
from tests.waiting import until

ASKED = {"image": "aGk=", "question": "what?"}
GOOD = post(json.dumps(ASKED).encode())


async def test_a_field_that_is_empty_is_there_all_the_same():
    """An empty answer of a student is "", not missing."""
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        reply = (await client.post("/v1/vqa", json={"image": "aGk="})).json()
    assert (reply["answer"], reply["version"]) == ("", "v1")


async def test_callers_who_hang_up_are_not_worked_for():
    async with http_peer() as peer:
        peer.servicer.open.clear()
        callers = [await peer.connect(GOOD) for _ in range(50)]
        kept, _ = await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 51)
        for _, writer in callers:
            writer.close()
        await until(lambda: peer.servicer.cancelled == 50)
        peer.servicer.open.set()
        assert (await read_reply(kept))[0] == 200
        assert peer.servicer.answered == 1
        assert peer.entrance.requests.total == peer.entrance.shedder.in_flight == 0


async def test_prompts_of_callers_who_hang_up_are_not_computed():
    computed, go = [], threading.Event()

    def run(prompts, adapter):
        go.wait(60)
        computed.extend(prompt.text for prompt in prompts)
        return [Reply("red", 1, 1) for _ in prompts]

    batcher = MicroBatcher(run, max_batch=1, max_waiting=100)

    class Asking(Servicer):
        async def _answer(self, request):
            self.begun += 1
            image = LoadedImage("0", Image.new("RGB", (2, 2)))
            reply = await batcher.submit(Prompt(image, request.question, Decoding()))
            return student_pb2.AnswerResponse(answer=reply.text)

    async with http_peer(servicer=Asking) as peer:
        questions = [
            post(json.dumps({**ASKED, "question": f"number {number}"}).encode())
            for number in range(20)
        ]
        callers = [await peer.connect(question) for question in questions]
        kept, _ = await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 21)
        for _, writer in callers:
            writer.close()
        await until(lambda: peer.entrance.requests.total == 1)
        go.set()
        assert (await read_reply(kept))[0] == 200
        await batcher.close()
    assert len(computed) <= 2, "the one that the engine had, and the caller who stayed"
    assert "what?" in computed


async def test_a_caller_who_hangs_up_while_uploading_is_forgotten():
    async with http_peer() as peer:
        _, writer = await peer.connect(post(b"{", length=1000))
        await until(lambda: peer.entrance.uploads.total == 1)
        writer.close()
        await until(
            lambda: (
                peer.entrance.uploads.total == peer.connections == len(peer.entrance.waiting) == 0
            )
        )


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (NotFound("there is no v9"), 404, "NOT_FOUND"),
        (WrongState("not loaded"), 409, "WRONG_STATE"),
        (Overloaded("busy", retry_after_s=2.5), 429, "OVERLOADED"),
        (KeyError("a bug"), 500, "INTERNAL"),
        (RecursionError("a bug"), 500, "INTERNAL"),
        (StopAsyncIteration("a bug"), 500, "INTERNAL"),
    ],
)
async def test_every_failure_is_a_reply_at_once(failure, status, said):
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url, timeout=30) as client:
        peer.servicer.failure = failure
        reply = await client.post("/v1/vqa", json=ASKED)
        assert (reply.status_code, reason(reply.content)) == (status, said)
        assert reply.headers.get("retry-after") == ("3" if status == 429 else None)
        if status == 500:
            assert reply.headers["x-request-id"] in reply.text


async def test_an_error_that_quotes_a_megabyte_is_shortened():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        peer.servicer.failure = NotFound("there is no " + "x" * 2**20 + "\ud800")
        reply = await client.post("/v1/vqa", json=ASKED)
    assert reply.status_code == 404
    assert len(reply.content) < 1_500


async def test_a_failure_outside_of_our_routes_is_a_reply_in_our_shape(caplog):
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        reply = await client.get("/healthz", headers={"x-request-id": "seven"})
    assert (reply.status_code, reason(reply.content)) == (500, "INTERNAL_SERVER_ERROR")
    assert reply.headers["x-request-id"] == "seven"
    assert any("ZeroDivisionError" in (record.exc_text or "") for record in caplog.records)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs.json",
        "/schema.json",
        "/static_content/index.css",
        "/v1",
        "/v1/vqa/",
        "/" + "x" * 9_000,
    ],
)
async def test_there_is_nothing_else_here(path):
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        reply = await client.get(path)
    assert (reply.status_code, reason(reply.content)) == (404, "NOT_FOUND")
    assert len(reply.content) < 500


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_another_method_is_a_405(method):
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        reply = await client.request(method, "/v1/vqa")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


async def test_requests_at_once_have_a_limit_and_health_has_room_of_its_own():
    async with (
        http_peer(requests=3, requests_per_caller=3) as peer,
        httpx.AsyncClient(base_url=peer.url) as client,
    ):
        peer.servicer.open.clear()
        for _ in range(3):
            await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 3)
        refused = await client.post("/v1/vqa", json=ASKED)
        assert (refused.status_code, reason(refused.content)) == (429, "OVERLOADED")
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_read_by_a_few_at_once():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        peer.servicer.open.clear()
        asked = [
            asyncio.create_task(read_reply((await peer.connect(get("/metrics")))[0]))
            for _ in range(20)
        ]
        await until(lambda: sum(reply.done() for reply in asked) == 16)
        assert (await client.get("/livez")).status_code == 200
        peer.servicer.open.set()
        statuses = [status for status, _, _ in await asyncio.gather(*asked)]
        assert sorted(statuses) == [200] * 4 + [429] * 16


async def test_a_request_that_can_not_be_answered_in_time_is_refused_before_its_body_comes():
    shedder = LoadShedder(LoadSettings(most=1))
    async with http_peer(shedder) as peer:
        peer.servicer.open.clear()
        await peer.connect(GOOD)
        await until(lambda: peer.servicer.begun == 1)
        reader, _ = await peer.connect(post(b"", length=1_000_000))
        status, headers, body = await read_reply(reader)
        assert (status, reason(body)) == (429, "OVERLOADED")
        assert int(headers["retry-after"]) >= 1


async def test_a_caller_says_how_long_it_waits():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url, timeout=60) as client:
        peer.servicer.open.clear()
        late = await client.post("/v1/vqa", json=ASKED, headers={"x-request-timeout": "1"})
        assert (late.status_code, reason(late.content)) == (504, "DEADLINE_EXCEEDED")
        assert peer.servicer.cancelled == 1
        for wrong in ("soon", "-1", "0", "nan", "inf", "1e999"):
            reply = await client.post("/v1/vqa", json=ASKED, headers={"x-request-timeout": wrong})
            assert (reply.status_code, reason(reply.content)) == (400, "INVALID_INPUT"), wrong


async def test_the_caller_and_the_log_have_the_same_id(caplog):
    caplog.set_level(logging.INFO, "services.calls")
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        own = await client.post("/v1/vqa", json=ASKED, headers={"x-request-id": "order-7"})
        made = await client.post("/v1/vqa", json={}, headers={"x-request-id": "two words"})
    assert own.headers["x-request-id"] == "order-7"
    first, second = [line for line in caplog.messages if "/v1/vqa" in line]
    assert first.startswith("POST /v1/vqa 200 ")
    assert "id=order-7 peer=127.0.0.1" in first
    assert f"id={made.headers['x-request-id']} " in second
    assert "INVALID_INPUT" in second


async def test_many_callers_at_once_are_all_answered():
    async with http_peer() as peer:
        readers = [(await peer.connect(GOOD))[0] for _ in range(100)]
        assert {(await read_reply(reader))[0] for reader in readers} == {200}
        assert (await peer.exchange(get("/livez", "connection: close"))).startswith(b"HTTP/1.1 200")


async def test_limits_apply_to_each_connection_in_turn():
    """After a refusal or an answer, a connection works like a new one."""
    async with http_peer() as peer:
        reader, writer = await peer.connect()
        for sent, expected in (
            (post(b"{}"), 400),
            (GOOD, 200),
            (get("/nowhere"), 404),
            (GOOD, 200),
        ):
            writer.write(sent)
            assert (await read_reply(reader))[0] == expected
        await asyncio.sleep(0)
        assert peer.connections == 1
