"""A legitimate caller over gRPC and HTTP, who must get right answers during each attack."""

import asyncio
import hashlib
import itertools
from contextlib import asynccontextmanager

import grpc
import httpx

from protos.mpa.v1 import student_pb2, student_pb2_grpc, teacher_pb2, teacher_pb2_grpc, types_pb2
from services.engines.fake import true_answer
from tests.attacks.target import MIB, MOST_MORE_BYTES, MOST_MORE_DESCRIPTORS, PATIENCE_S, settles
from tests.pictures import png
from tests.waiting import until

IMAGE = png("teal", size=(48, 48))
SHA256 = hashlib.sha256(IMAGE).hexdigest()
ADDRESS = "127.0.0.2"
"""Address of the bystander: the attacker uses up the limits of its own address."""
PACE_S = 0.03
GONE = "grpc._cython.cygrpc.ExecuteBatchError"
"""Log line of gRPC itself when a caller leaves in the moment of its answer."""
TRACEBACK = "Traceback (most recent call last)"
CHAINED = ("another exception occurred:", "direct cause of the following exception:")


class Bystander:
    """Asks question after question; `failures` describes each error."""

    def __init__(self, target, channel, http, repeats):
        self._target, self._http, self._repeats = target, http, repeats
        self._is_teacher = target.role == "teacher"
        stub = (
            teacher_pb2_grpc.TeacherServiceStub
            if self._is_teacher
            else student_pb2_grpc.StudentServiceStub
        )
        self._stub = stub(channel)
        self._numbers = itertools.count()
        self.answered, self.failures = {"gRPC": 0, "HTTP": 0}, []
        self.is_over = False

    async def ask(self, protocol):
        """Asks one question and checks the answer."""
        question = f"what is {next(self._numbers) % 50}?"
        asked = self._ask_grpc(question) if protocol == "gRPC" else self._ask_http(question)
        try:
            async with asyncio.timeout(PATIENCE_S + 5):
                answer = await asked
        except (grpc.aio.AioRpcError, httpx.HTTPError, TimeoutError) as error:
            if self._repeats and is_refusal(error):
                return
            self.failures.append(f"{protocol}: {error!r}"[:500])
            return
        if self._target.answers and answer is not None and answer != true_answer(SHA256, question):
            self.failures.append(f"{protocol}: {question} was answered {answer!r}")
        self.answered[protocol] += 1

    async def _ask_grpc(self, question):
        request = (
            teacher_pb2.TeacherServiceAnswerRequest
            if self._is_teacher
            else student_pb2.AnswerRequest
        )
        asked = self._stub.Answer(
            request(image=types_pb2.Image(data=IMAGE), question=question),
            timeout=PATIENCE_S,
            metadata=tuple(self._target.bearing.items()),
        )
        return (await asked).answer

    async def _ask_http(self, question):
        path, data = (
            ("annotate", {"task": "vqa"}) if self._is_teacher else ("vqa", {"question": question})
        )
        response = await self._http.post(f"/v1/{path}", files={"image": IMAGE}, data=data)
        response.raise_for_status()
        return None if self._is_teacher else response.json()["answer"]

    async def keep_asking(self, protocol):
        while not self.is_over:
            await self.ask(protocol)
            await asyncio.sleep(PACE_S)

    async def is_served(self, times=2):
        """Waits until `times` more answers have come over each protocol, or one has failed."""
        enough = {protocol: count + times for protocol, count in self.answered.items()}
        await until(
            lambda: (
                self.failures
                or all(self.answered[protocol] >= count for protocol, count in enough.items())
            ),
            timeout_s=2 * (PATIENCE_S + 10),
        )


def is_refusal(error):
    """Whether the service had no room, so that a retry may succeed."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 429


@asynccontextmanager
async def bystander_of(target, repeats=False):
    """A bystander. `repeats`: it asks again if the service has no room."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        target.channel(options) as channel,
        httpx.AsyncClient(
            base_url=target.url,
            timeout=PATIENCE_S,
            headers=target.bearing,
            transport=httpx.AsyncHTTPTransport(verify=target.tls, local_address=ADDRESS),
        ) as http,
    ):
        bystander = Bystander(target, channel, http, repeats)
        asking = [
            asyncio.create_task(bystander.keep_asking(protocol)) for protocol in bystander.answered
        ]
        try:
            yield bystander
        finally:
            bystander.is_over = True
            await asyncio.wait(asking)


class _Peak:
    """Largest observed memory of a service."""

    def __init__(self, target):
        self._target, self.bytes = target, target.resident_bytes()

    async def watch(self):
        while True:
            self.bytes = max(self.bytes, await asyncio.to_thread(self._target.resident_bytes))
            await asyncio.sleep(0.25)


@asynccontextmanager
async def besieged(target, *, most_more_bytes=MOST_MORE_BYTES, allowed_log=()):
    """Surrounds an attack with its checks.

    A legitimate caller is served before, during and after the attack, and the service stays healthy
    and within its limits. `allowed_log`: parts of tracebacks that are not faults of ours.
    """
    target.is_wounded = True  # until proven otherwise
    log, identities, descriptors = target.log_size(), target.identities(), target.descriptors()
    peak = _Peak(target)
    before = peak.bytes
    watching = asyncio.create_task(peak.watch())
    try:
        async with bystander_of(target) as bystander:
            await bystander.is_served()
            assert not bystander.failures
            yield bystander
            await bystander.is_served()
    finally:
        watching.cancel()
    assert not bystander.failures, (
        f"the bystander was not served: {bystander.failures[:5]} ({len(bystander.failures)} in all)"
    )
    complaint = await asyncio.to_thread(target.complaint)
    assert not complaint, f"the service is not well: {complaint}"
    assert target.identities() == identities, "a process of the service died and was replaced"
    more = peak.bytes - before
    assert more <= most_more_bytes, f"the service took {more / MIB:,.0f} MiB more"
    limit = descriptors + MOST_MORE_DESCRIPTORS
    held = await asyncio.to_thread(settles, target.descriptors, limit)
    assert held <= limit, f"{held} descriptors are open, {descriptors} were before"
    target.is_wounded = False
    allowed = (GONE, *allowed_log)
    unexpected = [
        error
        for error in errors_in(target.log_since(log))
        if not any(word in error for word in allowed)
    ]
    assert not unexpected, f"the log has {len(unexpected)} tracebacks: {unexpected[:3]}"


def errors_in(log):
    """The last line of each traceback; of chained ones, the last line of the last."""
    parts, errors = log.split(TRACEBACK), []
    for before, part in itertools.pairwise(parts):
        lines = part.splitlines()[1:]
        end = next((line for line in lines if line and not line.startswith(" ")), part)[:500]
        if errors and before.rstrip().endswith(CHAINED):
            errors[-1] = end
        else:
            errors.append(end)
    return errors
