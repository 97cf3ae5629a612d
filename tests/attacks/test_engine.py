"""Questions on which the engine fails, hangs or dies: a new engine answers the others."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import student_pb2, types_pb2
from tests.attacks.bystander import IMAGE, besieged, bystander_of
from tests.attacks.outcomes import ANSWER, ANSWER_STREAM, call_once, method_of
from tests.serving import fake_checkpoint
from tests.waiting import until

pytestmark = pytest.mark.slow
BACK_WITHIN_S = 60.0
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


def asking(question):
    return student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question=question)


@pytest.fixture
def fragile(targets, tmp_path_factory):
    model = fake_checkpoint(
        tmp_path_factory.mktemp("fragile"),
        skill=1.0,
        deadly="deadly",
        hanging="hanging",
        failing="failing",
    )
    return targets.get("fragile", "student", model=model, watchdog_s=2)


async def test_one_question_that_fails_in_a_batch_of_sixty(fragile):
    items = [
        student_pb2.AnswerStreamRequest(id=str(n), request=asking(f"what is {n}?"))
        for n in range(59)
    ]
    items.insert(30, student_pb2.AnswerStreamRequest(id="bad", request=asking("is this failing?")))
    async with besieged(fragile, allowed_log=("RuntimeError",)):
        outcome = await call_once(fragile.address, ANSWER_STREAM, *items)
    replies = {each.id: each for reply in outcome.replies for each in (reply, *reply.more)}
    assert len(replies) == 60
    assert [name for name, each in replies.items() if each.HasField("error")] == ["bad"]


@pytest.mark.parametrize("word", ["deadly", "hanging"])
async def test_the_service_leaves_rotation_and_comes_back(fragile, word):
    """It reports "not ready" while it answers nobody; then a new engine answers."""
    fragile.is_wounded = True
    states = []
    async with grpc.aio.insecure_channel(fragile.address) as channel:

        async def watch_health():
            async for update in health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest()
            ):
                states.append(update.status)

        watching = asyncio.create_task(watch_health())
        await until(lambda: states)
        killing = method_of(channel, ANSWER)(asking(f"is this {word}?"), timeout=BACK_WITHIN_S)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await killing
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: len(states) >= 3, timeout_s=BACK_WITHIN_S)
        watching.cancel()
    assert states == [SERVING, NOT_SERVING, SERVING]
    async with bystander_of(fragile) as bystander:
        await bystander.is_served()
        assert not bystander.failures
    assert not fragile.complaint()
    fragile.is_wounded = False
