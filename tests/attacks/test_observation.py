"""Lines of the log, series of metrics, times: attackers write none, and learn nothing."""

import asyncio
import itertools
import statistics
import time

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2, versions_pb2
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, TRAIN, call_once, raw, request
from tests.attacks.test_completions import data_url, part, turn

pytestmark = pytest.mark.slow
FORGED = "2026-01-01T00:00:00+0000 [INFO] forged"
ESCAPES = f"\x1b[2J\x1b]0;owned\x07\r\n{FORGED}\n\u2028\u202e\x00\x9b31m"
FEW = 60
"""More series of metrics than a test's own requests make."""


def controls(text):
    """Characters that move a terminal's cursor, or make a line look like another."""
    return {each for each in text if not each.isprintable() and each != "\n"}


def percent(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


IN_HEADERS = (
    "x-request-id",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "content-type",
    "x-request-timeout",
    "authorization",
)


async def _is_not_forged(target, send):
    before = target.log_size()
    async with besieged(target):
        await send()
    log = target.log_since(before)
    assert not any(line.startswith(FORGED[:10]) for line in log.splitlines())
    assert not controls(log)


async def test_lines_of_the_log_in_a_header(guarded, keys):
    """HTTP has no line ends in headers; other controls travel."""
    value = ESCAPES.replace("\r\n", " ").replace("\n", " ").replace("\0", "").encode()
    own = {"authorization": f"Bearer {keys.tokens['ask']}".encode()}

    async def send():
        for name, head in itertools.product(IN_HEADERS, (value, b"Bearer " + value)):
            lines = {**own, name: head}
            sent = b"".join(b"%s: %s\r\n" % (name.encode(), each) for name, each in lines.items())
            await raw(
                guarded.service.http_port,
                b"POST /v1/vqa HTTP/1.1\r\nhost: a\r\n" + sent + b"content-length: 2\r\n\r\n{}",
            )

    await _is_not_forged(guarded, send)


async def test_lines_of_the_log_in_a_path(student):
    async def send():
        for path in ("/{}", "/v1/models/{}", "/v1/vqa/{}", "/livez?{}"):
            for method in ("GET", "POST"):
                await request(student.url, method, path.replace("{}", percent(ESCAPES)))

    await _is_not_forged(student, send)


FIELDS = [
    {"question": "what?", "version": ESCAPES},
    {"question": ESCAPES},
    {"question": "what?", ESCAPES: "x"},
    {"question": "what?", "template": "{question}" + ESCAPES},
]


async def test_lines_of_the_log_in_a_field(student):
    async def send():
        for fields in FIELDS:
            await request(student.url, json={"image": data_url().partition(",")[2], **fields})

    await _is_not_forged(student, send)


async def test_lines_of_the_log_in_a_chat(student):
    async def send():
        for fields in ({"model": ESCAPES}, {"user": ESCAPES}, {"stop": [ESCAPES]}):
            sent = {"messages": [turn(part(data_url()), text=ESCAPES)], **fields}
            await request(student.url, path="/v1/chat/completions", json=sent)

    await _is_not_forged(student, send)


async def test_lines_of_the_log_in_a_control_call(student):
    async def send():
        for method in ("GetVersion", "LoadVersion", "PromoteVersion", "DeleteVersion"):
            asked = getattr(versions_pb2, f"{method}Request")(name=ESCAPES)
            outcome = await call_once(student.address, f"/mpa.v1.VersionService/{method}", asked)
            assert outcome.status != "OK"
        asked = training_pb2.TrainRequest(dataset="0" * 64, run=ESCAPES, recipe=ESCAPES)
        assert (await call_once(student.address, TRAIN, asked)).status != "OK"
        rollback = "/mpa.v1.VersionService/RollbackVersion"
        assert (await call_once(student.address, rollback, b"")).status != "OK"

    await _is_not_forged(student, send)
    audit = (student.service.log.parent / "store" / "audit.jsonl").read_text()
    assert not controls(audit)


async def test_a_line_of_the_log_for_each_connection(student):
    """Connections without a sound request, which no limit of requests counts."""
    before = student.log_size()
    async with besieged(student):
        for first in (b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"):
            for _ in range(10):
                await asyncio.gather(*(raw(student.service.http_port, first) for _ in range(50)))
    lines = student.log_since(before).count("\n")
    assert lines < 500, "1,000 connections fill the log"


async def _series(target):
    page = (await request(target.url, "GET", "/metrics")).said
    return {line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")}


async def _adds_few_series(target, sends):
    async with besieged(target):
        await request(target.url, "GET", "/x")
        before = await _series(target)
        for first in range(0, len(sends), 20):
            await asyncio.gather(*(send() for send in sends[first : first + 20]))
        more = await _series(target) - before
    assert len(more) < FEW, sorted(more)[:10]


def _asking(target, method, path, **sent):
    return lambda: request(target.url, method, path, **sent)


PLACES = {
    "paths": lambda n: ("GET", f"/random/{n}"),
    "names of models": lambda n: ("GET", f"/v1/models/model-{n}"),
    "queries": lambda n: ("GET", f"/livez?q={n}"),
    "methods": lambda n: (f"METHOD{n}", "/v1/vqa"),
}


@pytest.mark.parametrize("kind", PLACES)
async def test_random(student, kind):
    """A label of a metric has few values, whatever callers send."""
    await _adds_few_series(student, [_asking(student, *PLACES[kind](n)) for n in range(100)])


async def test_random_versions_and_methods_over_grpc(student):
    def asking(number):
        asked = student_pb2.AnswerRequest(
            image=types_pb2.Image(data=IMAGE), question="what?", version=f"v{number + 1000}"
        )
        return lambda: call_once(student.address, ANSWER, asked)

    def unknown(number):
        async def send():
            async with grpc.aio.insecure_channel(student.address) as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(f"/mpa.v1.StudentService/M{number}")(b"")

        return send

    sends = [make(number) for number in range(100) for make in (asking, unknown)]
    await _adds_few_series(student, sends)


async def test_metrics_read_again_and_again(student):
    """Each reading takes a thread and a moment: a few at once have room."""
    async with besieged(student) as bystander, httpx.AsyncClient(base_url=student.url) as http:
        replies = await asyncio.gather(*(http.get("/metrics") for _ in range(100)))
        await bystander.is_served()
    assert {reply.status_code for reply in replies} <= {200, 429}


async def test_a_flood_of_health_checks(student):
    async with besieged(student) as bystander, httpx.AsyncClient(base_url=student.url) as http:
        for path in ("/livez", "/readyz", "/healthz"):
            replies = await asyncio.gather(*(http.get(path) for _ in range(100)))
            assert {reply.status_code for reply in replies} == {200}
        await bystander.is_served()


async def test_a_flood_of_watches_of_health(student):
    """Each is a stream without an end; they have room of their own."""
    async with besieged(student) as bystander:
        channels = [
            grpc.aio.insecure_channel(
                student.address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(8)
        ]
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=f"service {number}")
            )
            for channel in channels
            for number in range(200)
        ]
        await bystander.is_served()
        for watch in watches:
            watch.cancel()
        for channel in channels:
            await channel.close()


async def test_the_time_of_a_refusal_tells_nothing_about_a_key(guarded, keys):
    """An id that exists, and a key that is wrong in its last letter, take as long as any other."""
    right = keys.tokens["ask"]
    guesses = {
        "unknown": f"mpa-00000000-{'a' * 43}",
        "a known id": f"mpa-{keys.ids['ask']}-{'a' * 43}",
        "all but a letter": right[:-1] + ("b" if right[-1] != "b" else "c"),
    }
    took = {name: [] for name in guesses}
    async with besieged(guarded), httpx.AsyncClient(base_url=guarded.url) as http:
        for _ in range(150):
            for name, token in guesses.items():
                began = time.perf_counter()
                reply = await http.get("/metrics", headers={"authorization": f"Bearer {token}"})
                took[name].append(time.perf_counter() - began)
                assert reply.status_code == 401
    medians = [statistics.median(each) for each in took.values()]
    assert max(medians) < 1.5 * min(medians), medians


async def test_a_refusal_tells_nothing_about_what_is_here(guarded, keys):
    """Without a key, an unknown version and a known one are refused in the same words."""
    async with besieged(guarded):
        said = {
            (await request(guarded.url, "GET", f"/v1/models/{name}")).said
            for name in ("v1", "v2", "live", "x")
        }
        assert len(said) == 1
        page = await request(guarded.url, "GET", "/openapi.json")
        assert page.status == "401"
