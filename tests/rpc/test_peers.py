"""Replicas behind one client: each image stays on one of them, as long as that one is there."""

import asyncio
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from protos.mpa.v1 import student_pb2, student_pb2_grpc, versions_pb2, versions_pb2_grpc
from services.core.errors import ImageUnknown, Unavailable, WrongState
from services.core.rendezvous import SLACK
from services.rpc.addresses import Target
from services.rpc.client import Picture, StudentClient
from services.rpc.connection import IN_FLIGHT
from services.rpc.peers import Peers
from services.rpc.server import GrpcServer
from services.rpc.streams import answer_out_of_order
from tests.waiting import until

PICTURES = [Picture.of(f"image {number}".encode()) for number in range(60)]
QUESTIONS = ("one?", "two?", "three?")


@dataclass
class Replica(student_pb2_grpc.StudentServiceServicer):
    """Answers with its own name. `versions`: those that it has loaded."""

    name: str
    versions: set = field(default_factory=lambda: {""})
    known: set = field(default_factory=set)
    received: int = 0
    asked: list = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def Answer(self, request, context=None):
        if request.version not in self.versions:
            raise WrongState("not here", reason="VERSION_NOT_LOADED")
        if request.image.WhichOneof("source") == "data":
            self.received += 1
            self.known.add(Picture.of(request.image.data).sha256)
        elif request.image.sha256 not in self.known:
            raise ImageUnknown("send the bytes")
        self.asked.append(request.question)
        if request.question.startswith("wait"):
            await self.go.wait()
        return student_pb2.AnswerResponse(answer=self.name, version=request.version)

    async def AnswerStream(self, requests, context):
        async for reply in answer_out_of_order(
            requests, self.Answer, student_pb2.AnswerStreamResponse
        ):
            yield reply


@asynccontextmanager
async def replicas(count, patience_s=30.0):
    """A client, and each replica with its server."""
    async with AsyncExitStack() as stack:
        found, ports = [], []
        for number in range(count):
            servicer = Replica(str(number))
            register = partial(student_pb2_grpc.add_StudentServiceServicer_to_server, servicer)
            server = GrpcServer(register, [])
            ports.append(await server.start("127.0.0.1", 0))
            await server.set_ready(True)
            stack.push_async_callback(server.stop, 0)
            found.append((servicer, server))
        address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        client = await stack.enter_async_context(StudentClient(address, patience_s=patience_s))
        yield client, found


async def ask_all(client, questions=QUESTIONS):
    """Names of the replicas that answered about each image."""
    by_image = defaultdict(set)

    async def ask(picture, question):
        by_image[picture.sha256].add((await client.answer(picture, question)).answer)

    for question in questions:
        await asyncio.gather(*(ask(picture, question) for picture in PICTURES))
    return by_image


async def test_an_image_is_sent_once_and_all_its_questions_go_to_one_replica():
    async with replicas(3) as (client, found):
        where = await ask_all(client)
        assert all(len(names) == 1 for names in where.values())
        assert sum(replica.received for replica, _ in found) == len(PICTURES)
        assert all(replica.received > len(PICTURES) / 10 for replica, _ in found)
        async with StudentClient(client.address) as another:
            assert await ask_all(another) == where


async def test_calls_under_way_follow_the_number_of_replicas():
    async with replicas(3) as (client, _):
        asking = [asyncio.create_task(client.answer(PICTURES[0], f"{n}?")) for n in range(64)]
        await asyncio.gather(*asking)
        assert client.in_flight == client.connection.concurrency.most == 3 * IN_FLIGHT
        client.connection.note_accepted(4096)
        await client.answer(PICTURES[0], "one?")
        assert client.connection.concurrency.most == 3 * 2048


async def test_the_images_of_a_replica_that_is_gone_move_and_all_others_stay():
    async with replicas(3) as (client, found):
        before = await ask_all(client)
        lost, server = found[0]
        its_own = [picture for picture in PICTURES if before[picture.sha256] == {lost.name}]
        waiting = [
            asyncio.create_task(client.answer(picture, "wait")) for picture in its_own[:SLACK]
        ]
        await until(lambda: lost.asked.count("wait") == len(waiting))
        for replica, _ in found[1:]:
            replica.go.set()
        await server.stop(0)
        assert {reply.answer for reply in await asyncio.gather(*waiting)} == {"1", "2"}
        after = await ask_all(client)
        for image, names in before.items():
            assert len(after[image]) == 1
            assert after[image] == names or names == {lost.name}


async def test_a_replica_that_reports_not_ready_gets_no_more_requests():
    async with replicas(2) as (client, found):
        await ask_all(client)
        (leaving, server), (other, _) = found
        await server.set_ready(False)
        peers = await client.connection.peers.all()
        await until(lambda: sum(peer.is_usable for peer in peers) == 1)
        asked = len(leaving.asked)
        assert {name for names in (await ask_all(client)).values() for name in names} == {
            other.name
        }
        assert len(leaving.asked) == asked


async def test_a_replica_with_one_popular_image_passes_on_a_part_of_its_questions():
    chosen = []
    async with replicas(2) as (client, _):
        peers = client.connection.peers
        with ExitStack() as under_way:
            for _ in range(200):
                chosen.append(await peers.for_image("popular"))
                under_way.enter_context(chosen[-1].busy())
    favourite, other = Counter(chosen).most_common()
    assert chosen[0] is favourite[0]
    assert favourite[1] > other[1] > 20


async def test_a_version_that_one_replica_has_not_loaded_is_asked_at_another():
    async with replicas(3) as (client, found):
        found[1][0].versions.add("v2")
        replies = await asyncio.gather(
            *(client.answer(picture, "which?", version="v2") for picture in PICTURES)
        )
        assert {reply.answer for reply in replies} == {"1"}
        with pytest.raises(WrongState, match="not here"):
            await client.answer(PICTURES[0], "which?", version="v3")


async def test_nobody_there_is_unavailable():
    async with replicas(2, patience_s=0.5) as (client, found):
        for _, server in found:
            await server.stop(0)
        with pytest.raises(Unavailable, match="gave no answer"):
            await client.answer(PICTURES[0], "anybody?")


class Owner(versions_pb2_grpc.VersionServiceServicer):
    """Lists its versions when it may."""

    def __init__(self):
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def ListVersions(self, request, context):
        self.asked.set()
        await self.go.wait()
        return versions_pb2.ListVersionsResponse(live="v1")


async def test_a_call_to_the_owner_keeps_it_until_it_is_answered():
    owner = Owner()
    register = partial(versions_pb2_grpc.add_VersionServiceServicer_to_server, owner)
    server = GrpcServer(register, [])
    async with AsyncExitStack() as stack:
        port = await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.stop, 0)
        await server.set_ready(True)
        client = await stack.enter_async_context(StudentClient(f"127.0.0.1:{port}"))
        asking = asyncio.create_task(client.pointers())
        await until(owner.asked.is_set)
        (peer,) = await client.connection.peers.all()
        assert peer.under_way == 1
        owner.go.set()
        assert (await asking).live == "v1"
        assert peer.under_way == 0


async def test_replicas_come_and_go_with_their_name():
    named = [Target("ipv4:127.0.0.1:1"), Target("ipv4:127.0.0.1:2")]

    async def find(address, known):
        return list(named)

    peers = Peers("name:1", find, every_s=0.01)
    first = {peer.target for peer in await peers.all()}
    assert first == set(named)
    leaving = next(peer for peer in await peers.all() if peer.target == named[0])
    named[0] = Target("ipv4:127.0.0.1:3")
    with leaving.busy():
        found = []
        while {peer.target for peer in found} != set(named):
            await asyncio.sleep(0.02)
            found = await peers.all()
        assert not leaving.is_closed
    await until(lambda: leaving.is_closed)
    await peers.close()
