"""Thousands of odd requests over each protocol: none may end in UNKNOWN, INTERNAL, 5xx or a hang.

MPA_FUZZ sets their count (4,000; `make fuzz` sends 100,000), MPA_FUZZ_FROM the number of the first
one, and MPA_FUZZ_SEED another sequence. One of FEWER goes to a real model. A failure names its
number: `MPA_FUZZ_FROM=<number> MPA_FUZZ=1` repeats it.
"""

import asyncio
import os
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, suppress

import grpc
import pytest

from tests.attacks import fuzzing
from tests.attacks.bystander import besieged
from tests.attacks.outcomes import CUT_OFF, HANGS, call, method_of
from tests.rpc.access.keyring import one_key_for_each_role

pytestmark = pytest.mark.slow
FIRST = int(os.environ.get("MPA_FUZZ_FROM", "0"))
REQUESTS = range(FIRST, FIRST + int(os.environ.get("MPA_FUZZ", "4000")))
FEWER = 50
AT_ONCE = {"gRPC": 48, "HTTP": 128}
"""Requests under way at once. Incomplete ones of HTTP wait, and take no time of the service."""
AT_ONCE_TO_A_MODEL = 16
"""A real model takes a second for a few answers: more would be an overload, another attack."""
HANGS_AFTER_S = 60.0
WAITS_S = 1.5
"""Seconds until an HTTP caller ends its side: complete requests are answered by then."""
WATCH = "/grpc.health.v1.Health/Watch"
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
NEVER = {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "CANCELLED", HANGS}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    keys = one_key_for_each_role(tmp_path_factory.mktemp("keys"))
    keys.add("bystander", "ask")
    return keys


@pytest.fixture
def guarded(targets, model, keys):
    """A student with keys. It gets the requests with a key."""
    return targets.get(
        "fuzzed", "student", model=model, keys=keys.path, key=keys.tokens["bystander"]
    )


async def send_all(at_once, requests, send):
    """Counts of statuses, with the numbers of some requests for each."""
    counts, examples = Counter(), defaultdict(list)
    numbers = iter(requests)

    async def work():
        for number in numbers:
            for status in await send(number):
                counts[status] += 1
                examples[status].append(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return counts, {status: numbers[:10] for status, numbers in examples.items()}


def with_keys(keys, text):
    """A text with the keys in place of their names."""
    for role in fuzzing.ROLES:
        text = text.replace(f"KEY-{role}", keys.tokens[role])
    return text


def statuses_of(outcome):
    """The statuses of the call and of its items."""
    items = [
        each for reply in outcome.replies if hasattr(reply, "more") for each in (reply, *reply.more)
    ]
    failed = {NAMES[each.error.code] for each in items if each.HasField("error")}
    return sorted({outcome.status, *failed})


async def send_over_grpc(targets, keys, requests, record, at_once=AT_ONCE["gRPC"]):
    """`targets`: those for requests without a key, with one, and for the teacher."""
    async with AsyncExitStack() as stack:
        for target in {id(each): each for each in targets}.values():
            await stack.enter_async_context(besieged(target))
        channels = [
            [await stack.enter_async_context(_channel(target)) for _ in range(8)]
            for target in targets
        ]

        async def send(number):
            sent = fuzzing.grpc_request(number)
            metadata = tuple(
                (name, given if isinstance(given, bytes) else with_keys(keys, given))
                for name, given in sent.metadata
            )
            place = 2 if "TeacherService" in sent.method else int(metadata != sent.metadata)
            channel = channels[place][number % 8]
            if sent.method == WATCH:
                return [await watch(channel, sent.messages[0], metadata)]
            outcome = await call(
                channel, sent.method, *sent.messages, timeout_s=HANGS_AFTER_S, metadata=metadata
            )
            if fuzzing.FUZZED[sent.method].client_streaming and outcome.said == CUT_OFF:
                return ["REFUSED WHILE SENDING"]
            return statuses_of(outcome)

        counts, examples = await send_all(at_once, requests, send)
        report(counts, record)
    wrong = {status: examples[status] for status in counts if status in NEVER}
    assert not wrong, f"{dict(counts)}; numbers: {wrong}"


async def watch(channel, message, metadata):
    """The status of a call that has no end after its first reply."""
    watching = method_of(channel, WATCH)(message, timeout=HANGS_AFTER_S, metadata=metadata)
    try:
        await watching.read()
    except grpc.aio.AioRpcError as error:
        return HANGS if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else error.code().name
    watching.cancel()
    return "OK"


def _channel(target):
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(target.address, options=options)


async def test_grpc(student, guarded, teacher, keys, record_property):
    await send_over_grpc((student, guarded, teacher), keys, REQUESTS, record_property)


async def test_grpc_to_a_real_model(reader, reading_teacher, keys, record_property):
    targets = (reader, reader, reading_teacher)
    few = REQUESTS[::FEWER]
    await send_over_grpc(targets, keys, few, record_property, AT_ONCE_TO_A_MODEL)


async def exchange(port, data):
    """The status of the response; CLOSED without one."""
    received = bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def receive():
        while some := await reader.read(2**16):
            received.extend(some)

    try:
        async with asyncio.timeout(HANGS_AFTER_S):
            with suppress(ConnectionError):
                writer.write(data)
                try:
                    async with asyncio.timeout(WAITS_S):
                        await receive()
                except TimeoutError:
                    if not writer.transport.is_closing():
                        writer.write_eof()
                    await receive()
    except TimeoutError:
        return HANGS
    finally:
        writer.close()
    return _status(bytes(received))


def _status(received):
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _status(body) if body else "100"
    if not head.startswith(b"HTTP/"):
        return "CLOSED"
    status = head.split()[1].decode()
    if b"text/event-stream" not in head:
        return status
    if b'"server_error"' in body:
        return "500 in a stream"
    return f"{status} stream" if b"data: [DONE]" in body else f"{status} cut stream"


async def send_over_http(targets, keys, requests, record, at_once=AT_ONCE["HTTP"]):
    """`targets` as in `send_over_grpc`."""
    async with AsyncExitStack() as stack:
        for target in {id(each): each for each in targets}.values():
            await stack.enter_async_context(besieged(target))

        async def send(number):
            drawn = fuzzing.http_request(number)
            data = with_keys(keys, drawn.decode("latin-1")).encode("latin-1")
            place = 2 if b"/v1/annotate" in data else int(data != drawn)
            return [await exchange(targets[place].service.http_port, data)]

        counts, examples = await send_all(at_once, requests, send)
        report(counts, record)
    wrong = {
        status: examples[status] for status in counts if status.startswith("5") or status == HANGS
    }
    assert not wrong, f"{dict(counts)}; numbers: {wrong}"


async def test_http(student, guarded, teacher, keys, record_property):
    await send_over_http((student, guarded, teacher), keys, REQUESTS, record_property)


async def test_http_to_a_real_model(reader, reading_teacher, keys, record_property):
    targets = (reader, reader, reading_teacher)
    few = REQUESTS[::FEWER]
    await send_over_http(targets, keys, few, record_property, AT_ONCE_TO_A_MODEL)


def report(counts, record_property):
    for status, count in counts.most_common():
        record_property(status, count)
    print(f"\n{counts.total():,} outcomes: {dict(counts.most_common())}")  # noqa: T201
