"""Followers of a store: they swap with its owner, and leave the rotation when they can't."""

import asyncio
import json
import os
import shutil
import threading
from dataclasses import asdict

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, SwapFailed, Unavailable, WrongState
from services.files import write_atomically
from services.orchestrator.endpoints.processes import free_ports
from services.rpc.client import Picture, StudentClient
from services.rpc.status import from_rpc_error
from services.student.followers import Follower, Followers
from services.student.heartbeat import FollowerNote, FollowerState, followers_folder
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore
from tests.serving import fake_checkpoint
from tests.student.calls import IMAGE, ask, train
from tests.student.following import (
    SKILLED,
    UNSKILLED,
    follower_settings,
    following,
    owning,
)
from tests.waiting import until

NOTE = FollowerNote("a:1", FollowerState.SERVING, "v1", "v1")


async def version_at(peer):
    return (await peer.answers.Answer(ask())).version


async def listed(owner):
    return list((await owner.versions.ListVersions(versions_pb2.ListVersionsRequest())).followers)


async def failed_note(owner):
    """The note of the only follower, once it reports that it has failed."""
    async with asyncio.timeout(90):
        while True:
            (note,) = await listed(owner)
            if note.state == versions_pb2.FOLLOWER_STATE_FAILED:
                return note
            await asyncio.sleep(0.02)


async def until_counted(owner):
    """Waits until the owner sees its follower in the rotation."""
    async with asyncio.timeout(90):
        while not await owner.student._followers.serving():  # noqa: ASYNC110  # a file, no event
            await asyncio.sleep(0.02)


async def test_a_promotion_ends_when_the_followers_have_swapped(tmp_path):
    settings = follower_settings(tmp_path / "store", free_ports(1)[0])
    async with owning(tmp_path) as owner, following(settings) as (follower, lifecycle):
        await until(lambda: lifecycle.ready)
        await until_counted(owner)
        assert await version_at(follower) == UNSKILLED
        for version in (SKILLED, UNSKILLED, SKILLED):
            await owner.student.versions.promote(version)
            assert follower.student.versions.pointers.live == version
            assert await version_at(follower) == version
        (note,) = await listed(owner)
        assert (note.address, note.version) == (follower.address, SKILLED)
        async with StudentClient(owner.address) as student:
            (status,) = (await student.stored()).followers
            assert (status.address, status.state) == (follower.address, "serving")
        assert note.state == versions_pb2.FOLLOWER_STATE_SERVING
        third = owner.student.store.add(tmp_path / "base", Origin(parent=SKILLED), Contract())
        await owner.student.versions.promote(third)
        assert "the follower at" in owner.student.needs(UNSKILLED)
    assert not list((tmp_path / "store" / "followers").iterdir())


async def test_a_follower_with_room_for_one_model_swaps_in_place(tmp_path):
    settings = follower_settings(tmp_path / "store", free_ports(1)[0], MAX_LOADED=1)
    async with owning(tmp_path) as owner, following(settings) as (follower, lifecycle):
        await until(lambda: lifecycle.ready)
        await until_counted(owner)
        await owner.student.versions.load(SKILLED)  # it can't load the candidate
        for version in (SKILLED, UNSKILLED):
            await owner.student.versions.promote(version)
            assert await version_at(follower) == version
            assert follower.student.versions.loaded() == [version]


async def test_the_candidate_is_loaded_at_the_followers_too(tmp_path):
    settings = follower_settings(tmp_path / "store", free_ports(1)[0])
    async with owning(tmp_path) as owner, following(settings) as (follower, lifecycle):
        await until(lambda: lifecycle.ready)
        await owner.student.versions.load(SKILLED)
        await until(lambda: SKILLED in follower.student.versions.loaded())
        reply = await follower.answers.Answer(ask(version=SKILLED))
        assert reply.version == SKILLED
        assert await version_at(follower) == UNSKILLED


async def test_a_follower_refuses_what_its_owner_decides(tmp_path):
    settings = follower_settings(tmp_path / "store", free_ports(1)[0])
    async with owning(tmp_path) as owner, following(settings) as (follower, lifecycle):
        await until(lambda: lifecycle.ready)
        await until_counted(owner)
        home = f"127.0.0.1:{owner.student._settings.rpc.listen.port}"
        for call in (
            follower.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=SKILLED)),
            follower.versions.LoadVersion(versions_pb2.LoadVersionRequest(name=SKILLED)),
            follower.versions.RollbackVersion(versions_pb2.RollbackVersionRequest()),
            train(follower),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            error = from_rpc_error(refused.value)
            assert isinstance(error, WrongState)
            assert home in str(error)
        with pytest.raises(WrongState, match="only its owner changes it"):
            follower.student.store.point(Pointers(live=SKILLED))
        health = health_pb2_grpc.HealthStub(follower.channel)
        found = {
            name: (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("", "mpa.v1.StudentService", "mpa.v1.TrainingService")
        }
        serving, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        assert list(found.values()) == [serving, serving, not_serving]
        async with StudentClient(f"ipv4:{follower.address},{owner.address}") as student:
            assert (await student.promote(SKILLED, UNSKILLED)).pointers.live == SKILLED
            assert (await student.pointers()).live == SKILLED
        nobody = f"127.0.0.1:{free_ports(1)[0]}"
        async with StudentClient(f"{follower.address},{nobody}", patience_s=0) as student:
            assert (await student.answer(Picture.of(IMAGE), "what?")).version == SKILLED
            with pytest.raises(Unavailable, match="only followers answer at"):
                await student.pointers()


async def test_all_go_back_if_a_follower_cannot_load_the_version(tmp_path):
    """The follower's copy of the version is damaged."""
    here, there = tmp_path / "store", tmp_path / "there"
    async with owning(tmp_path) as owner:
        (here / "followers").mkdir()
        (there / "versions").mkdir(parents=True)
        for name in ("pointers.json", "pointers.copy.json", "owner.json", "followers"):
            (there / name).symlink_to(here / name)
        shutil.copytree(here / "versions" / UNSKILLED, there / "versions" / UNSKILLED)
        shutil.copytree(here / "versions" / SKILLED, there / "versions" / SKILLED)
        (there / "versions" / SKILLED / "fake.json").write_text('{"skill": 0.5}')
        settings = follower_settings(there, free_ports(1)[0])
        async with following(settings) as (follower, lifecycle):
            await until(lambda: lifecycle.ready)
            await until_counted(owner)
            with pytest.raises(SwapFailed, match=rf"{follower.address} can't load it.*damaged"):
                await owner.student.versions.promote(SKILLED)
            assert owner.student.versions.pointers == Pointers(live=UNSKILLED)
            assert owner.student.store.pointers() == Pointers(live=UNSKILLED)
            assert await version_at(owner) == UNSKILLED
            await until(lambda: lifecycle.ready)
            assert await version_at(follower) == UNSKILLED
            # Nobody goes back: the follower leaves the rotation until its copy is whole.
            owner.student.store.point(Pointers(live=SKILLED, previous=UNSKILLED))
            await until(lambda: not lifecycle.ready)
            note = await failed_note(owner)
            assert "has left the rotation" in note.error
            assert "damaged" in note.error
            with pytest.raises(grpc.aio.AioRpcError, match="can't answer now"):
                await version_at(follower)
            shutil.rmtree(there / "versions" / SKILLED)
            shutil.copytree(here / "versions" / SKILLED, there / "versions" / SKILLED)
            await until(lambda: lifecycle.ready)
            assert await version_at(follower) == SKILLED


async def test_a_follower_that_lost_the_live_version_returns_when_it_can_load_it(tmp_path):
    """Its engine dies, its copy of the version is damaged, and the owner moves its pointers."""
    here, there = tmp_path / "store", tmp_path / "there"
    async with owning(tmp_path) as owner:
        checkpoint = fake_checkpoint(tmp_path / "mortal", skill=0.0, deadly="die")
        mortal = owner.student.store.add(checkpoint, Origin(), Contract())
        owner.student.store.point(Pointers(live=mortal, previous=UNSKILLED))
        (here / "followers").mkdir()
        there.mkdir()
        for name in ("pointers.json", "pointers.copy.json", "owner.json", "followers"):
            (there / name).symlink_to(here / name)
        shutil.copytree(here / "versions", there / "versions")
        model = there / "versions" / mortal / "fake.json"
        whole = model.read_text()
        settings = follower_settings(there, free_ports(1)[0])
        async with following(settings) as (follower, lifecycle):
            await until(lambda: lifecycle.ready)
            model.write_text('{"skill": 0.5}')
            with pytest.raises(grpc.aio.AioRpcError):
                await follower.answers.Answer(ask("die?"))
            await until(lambda: not lifecycle.ready)
            owner.student.store.point(Pointers(live=mortal, previous=SKILLED))
            assert "damaged" in (await failed_note(owner)).error
            model.write_text(whole)
            await until(lambda: lifecycle.ready)
            assert await version_at(follower) == mortal


async def test_a_follower_whose_store_takes_no_note_serves_and_swaps(tmp_path):
    """The same happens on a full disk or a read-only mount."""
    settings = follower_settings(tmp_path / "store", free_ports(1)[0])
    async with owning(tmp_path) as owner:
        (tmp_path / "store" / "followers").write_text("no folder")
        async with following(settings) as (follower, lifecycle):
            await until(lambda: lifecycle.ready)
            await owner.student.versions.promote(SKILLED)
            await until(lambda: follower.student.versions.pointers.live == SKILLED)
            assert await version_at(follower) == SKILLED
            assert not await listed(owner)


async def test_a_slow_file_of_the_owner_holds_up_no_call_to_a_follower(tmp_path):
    """A pipe in place of the file holds whoever reads it."""
    store = tmp_path / "store"
    path, pipe = store / "owner.json", tmp_path / "pipe"
    async with (
        owning(tmp_path) as owner,
        following(follower_settings(store, free_ports(1)[0])) as (follower, lifecycle),
    ):
        await until(lambda: lifecycle.ready)
        os.mkfifo(pipe)
        path.rename(tmp_path / "owner.json")
        os.link(pipe, path)

        def free():
            (tmp_path / "owner.json").replace(path)
            os.close(os.open(pipe, os.O_RDWR))

        freeing = threading.Timer(10.0, free)
        freeing.start()
        request = versions_pb2.ListVersionsRequest()
        async with asyncio.timeout(5.0):
            found = await follower.versions.ListVersions(request)
        assert found.owner.endswith(f":{owner.student._settings.rpc.listen.port}")
        freeing.cancel()
        free()


async def test_a_follower_waits_for_an_owner_and_outlives_it(tmp_path):
    settings = follower_settings(tmp_path / "store", free_ports(1)[0])
    async with following(settings) as (follower, lifecycle):
        await asyncio.sleep(0.5)
        assert not lifecycle.ready
        assert not (tmp_path / "store").exists()
        async with owning(tmp_path):
            await until(lambda: lifecycle.ready)
            assert await version_at(follower) == UNSKILLED
        # The owner was killed after it had moved the pointers.
        killed = VersionStore(tmp_path / "store")
        killed.point(Pointers(live=SKILLED, previous=UNSKILLED))
        killed.close()
        await until(lambda: follower.student.versions.pointers.live == SKILLED)
        assert await version_at(follower) == SKILLED
        async with owning(tmp_path) as again:
            assert await version_at(again) == SKILLED


def test_a_follower_that_does_not_serve_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="leave one of them out"):
        follower_settings(tmp_path, 1, SERVE=0)


async def test_a_second_owner_is_refused_and_a_silent_follower_counts_as_lost(tmp_path):
    async with owning(tmp_path):
        with pytest.raises(Conflict, match="MPA_STUDENT_FOLLOW=1"):
            VersionStore(tmp_path / "store")
    assert not Follower(NOTE, 9.0).trouble
    assert "no heartbeat for 11 s" in Follower(NOTE, 11.0).trouble
    loading = FollowerNote("a:1", FollowerState.LOADING, "v1", "v2")
    assert Follower(loading, 0.0).trouble == "it is loading v2"


async def test_a_follower_that_is_late_is_named_and_has_not_swapped(tmp_path):
    write_atomically(followers_folder(tmp_path) / "a.json", json.dumps(asdict(NOTE)))
    followers = Followers(tmp_path, limit_s=0.1)
    awaited = await followers.serving()
    assert "within 0.1 s: a:1" in await followers.trouble("v2", awaited)
    assert not await followers.serving("v2")
    assert await followers.serving("v1") == awaited == {"a.json"}
