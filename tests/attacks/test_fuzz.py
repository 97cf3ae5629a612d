"""Thousands of odd requests over each protocol: none may end in UNKNOWN, INTERNAL, 5xx or a hang.

MPA_FUZZ sets their count (20,000), MPA_FUZZ_FROM the number of the first one, and MPA_FUZZ_SEED
another sequence. A failure names its number: `MPA_FUZZ_FROM=<number> MPA_FUZZ=1` repeats it.
"""

import asyncio
import os
from collections import Counter, defaultdict
from contextlib import suppress

import grpc
import pytest

from tests.attacks import fuzzing
from tests.attacks.bystander import besieged
from tests.attacks.outcomes import HANGS, METHODS, call

pytestmark = pytest.mark.slow
REQUESTS = range(
    int(os.environ.get("MPA_FUZZ_FROM", "0")),
    int(os.environ.get("MPA_FUZZ_FROM", "0")) + int(os.environ.get("MPA_FUZZ", "20000")),
)
AT_ONCE = 48
HANGS_AFTER_S = 60.0
WAITS_S = 1.5
"""Seconds until an HTTP caller ends its side: complete requests are answered by then."""
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
NEVER = {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "CANCELLED", HANGS}


async def send_all(send):
    """Counts of statuses, with the numbers of some requests for each."""
    counts, examples = Counter(), defaultdict(list)
    numbers = iter(REQUESTS)

    async def work():
        for number in numbers:
            for status in await send(number):
                counts[status] += 1
                examples[status].append(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return counts, {status: numbers[:10] for status, numbers in examples.items()}


def statuses_of(outcome):
    """The statuses of the call and of its items."""
    items = [
        each for reply in outcome.replies if hasattr(reply, "more") for each in (reply, *reply.more)
    ]
    failed = {NAMES[each.error.code] for each in items if each.HasField("error")}
    return sorted({outcome.status, *failed})


async def test_grpc(student, teacher, record_property):
    async with besieged(student), besieged(teacher):
        channels = {
            target.role: [
                grpc.aio.insecure_channel(
                    target.address, options=[("grpc.use_local_subchannel_pool", 1)]
                )
                for _ in range(8)
            ]
            for target in (student, teacher)
        }

        async def send(number):
            name, sent = fuzzing.grpc_request(number)
            channel = channels["teacher" if "TeacherService" in name else "student"][number % 8]
            assert name in METHODS
            return statuses_of(await call(channel, name, *sent, timeout_s=HANGS_AFTER_S))

        counts, examples = await send_all(send)
        for channel in (*channels["student"], *channels["teacher"]):
            await channel.close()
        report(counts, record_property)
    wrong = {status: examples[status] for status in counts if status in NEVER}
    assert not wrong, f"{dict(counts)}; numbers: {wrong}"


async def exchange(port, data):
    """The status of the response; CLOSED without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(HANGS_AFTER_S):
            with suppress(ConnectionError):
                writer.write(data)
                line = b""
                try:
                    async with asyncio.timeout(WAITS_S):
                        line = await reader.readline()
                except TimeoutError:
                    writer.write_eof()
                    line = await reader.readline()
                while await reader.read(2**16):
                    pass
                if line.startswith(b"HTTP/1.1 100"):
                    return "100"
                return line.split()[1].decode() if line.startswith(b"HTTP/") else "CLOSED"
        return "CLOSED"
    except TimeoutError:
        return HANGS
    finally:
        writer.close()


async def test_http(student, teacher, record_property):
    async with besieged(student), besieged(teacher):

        async def send(number):
            data = fuzzing.http_request(number)
            target = teacher if b"/v1/annotate" in data else student
            return [await exchange(target.service.http_port, data)]

        counts, examples = await send_all(send)
        report(counts, record_property)
    wrong = {
        status: examples[status] for status in counts if status.startswith("5") or status == HANGS
    }
    assert not wrong, f"{dict(counts)}; numbers: {wrong}"


def report(counts, record_property):
    for status, count in counts.most_common():
        record_property(status, count)
    print(f"\n{counts.total():,} outcomes: {dict(counts.most_common())}")  # noqa: T201
