"""Replicas of a student under load: swaps, and a follower that is killed, lose and mix nothing."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

from protos.mpa.v1 import student_pb2_grpc, versions_pb2
from services.engines.fake import true_answer
from services.orchestrator.endpoints.processes import free_ports
from services.rpc.client import Picture
from tests.pictures import numbered_png
from tests.student.calls import ask
from tests.student.following import SKILLED, UNSKILLED, follower_process, owning
from tests.student.read_only import read_only
from tests.waiting import until

CLIENTS, SWAPS, FOLLOWERS = 16, 50, 3
QUESTION = "what color is object 1?"
OPTIONS = (
    (
        "grpc.service_config",
        json.dumps(
            {
                "loadBalancingConfig": [{"round_robin": {}}],
                "healthCheckConfig": {"serviceName": ""},
                "methodConfig": [
                    {
                        "name": [{"service": "mpa.v1.StudentService"}],
                        "retryPolicy": {
                            "maxAttempts": 5,
                            "initialBackoff": "0.05s",
                            "maxBackoff": "1s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ],
            }
        ),
    ),
)


class Traffic:
    """Clients that ask without pause, and their answers by version; `wrong` ones and failures."""

    def __init__(self, addresses):
        self.channel = grpc.aio.insecure_channel(f"ipv4:{','.join(addresses)}", options=OPTIONS)
        self.stub = student_pb2_grpc.StudentServiceStub(self.channel)
        self.answers = Counter()
        self.troubles = []
        self.is_over = False

    async def ask(self, number):
        image = numbered_png(number)
        right = true_answer(Picture.of(image).sha256, QUESTION)
        texts = {SKILLED: right, UNSKILLED: "unknown"}
        while not self.is_over:
            try:
                reply = await self.stub.Answer(ask(QUESTION, image), timeout=30)
            except grpc.aio.AioRpcError as error:
                self.troubles.append(f"{error.code()}: {error.details()}")
                continue
            self.answers[reply.version] += 1
            if texts.get(reply.version) != reply.answer:
                self.troubles.append(f"{reply.version} answered {reply.answer}")


@asynccontextmanager
async def traffic(addresses):
    flow = Traffic(addresses)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(flow.ask(number))
            try:
                yield flow
            finally:
                flow.is_over = True
    finally:
        await flow.channel.close()


async def versions_of(owner):
    reply = await owner.versions.ListVersions(versions_pb2.ListVersionsRequest())
    return {follower.address: follower for follower in reply.followers}


@pytest.mark.slow
async def test_fifty_swaps_and_a_killed_follower_lose_and_mix_no_answer(tmp_path):
    ports = free_ports(FOLLOWERS)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(owning(tmp_path))
        processes = [
            await stack.enter_async_context(follower_process(tmp_path / "store", port))
            for port in ports
        ]
        seen = owner.student._followers
        while len(await seen.serving()) < FOLLOWERS:  # noqa: ASYNC110  # files, no event
            await asyncio.sleep(0.05)
        async with traffic([owner.address, *addresses]) as flow:
            for number in range(SWAPS):
                version = UNSKILLED if number % 2 else SKILLED
                await owner.student.versions.promote(version)
                found = await versions_of(owner)
                for address in addresses[1 if number > SWAPS // 2 else 0 :]:
                    assert found[address].version == version
                before = flow.answers[version]
                await until(lambda: flow.answers[version] > before)  # noqa: B023  # awaited here
                if number == SWAPS // 2:
                    processes[0].kill()
        assert not flow.troubles
        assert set(flow.answers) == {SKILLED, UNSKILLED}
        found = await versions_of(owner)
        assert found[addresses[0]].state == versions_pb2.FOLLOWER_STATE_LOST
        assert {found[address].version for address in addresses[1:]} == {UNSKILLED}
        assert owner.student.store.pointers().live == UNSKILLED


@pytest.mark.slow
async def test_a_follower_on_a_read_only_mount_serves_and_swaps(tmp_path):
    (port,) = free_ports(1)
    store = tmp_path / "store"
    async with owning(tmp_path) as owner:
        (store / "followers").mkdir(exist_ok=True)
        async with (
            follower_process(store, port, *read_only(store)),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel,
        ):
            stub = student_pb2_grpc.StudentServiceStub(channel)
            assert (await stub.Answer(ask(), wait_for_ready=True)).version == UNSKILLED
            await owner.student.versions.promote(SKILLED)
            while (await stub.Answer(ask(), wait_for_ready=True)).version != SKILLED:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # nobody hears of it: the follower can't report
            assert not await versions_of(owner)
