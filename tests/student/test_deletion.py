"""Versions leave the disk for good, and never one that something needs."""

import asyncio

import grpc
import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.errors import NotFound, WrongState
from services.student.manifest import ADAPTER, Origin
from services.student.slot import SlotState
from services.student.store import VersionStore
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.swapping import ask
from tests.waiting import until


def not_needed(name):
    return ""


def add(student, tmp_path, name, *, parent="", adapter=False):
    folder = fake_checkpoint(tmp_path / name, skill=0.9)
    if adapter:
        fake_checkpoint(folder / ADAPTER, skill=0.9)
    return student.store.add(folder, Origin(parent=parent), Contract())


async def test_a_service_deletes_what_nothing_needs(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        for name in ("v2", "v3", "v4"):
            assert add(peer.student, tmp_path, name) == name
        await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name="v2"))
        await peer.versions.LoadVersion(versions_pb2.LoadVersionRequest(name="v3"))
        listed = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
        assert {version.name: version.needed for version in listed.versions} == {
            "v1": "it is the previous version",
            "v2": "it is the live version",
            "v3": "it is the candidate version",
            "v4": "",
        }
        assert all(version.size_bytes > 0 for version in listed.versions)
        for name in ("v1", "v2", "v3"):
            with pytest.raises(grpc.aio.AioRpcError, match=f"{name} can't be deleted: it is the"):
                await peer.versions.DeleteVersion(versions_pb2.DeleteVersionRequest(name=name))
        size = listed.versions[-1].size_bytes
        done = await peer.versions.DeleteVersion(versions_pb2.DeleteVersionRequest(name="v4"))
        assert done.freed_bytes == size
        assert peer.student.store.names() == ["v1", "v2", "v3"]
        assert add(peer.student, tmp_path, "another") == "v5", "no name is used twice"


async def test_the_base_of_an_adapter_stays(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        base = add(peer.student, tmp_path, "base")
        adapter = add(peer.student, tmp_path, "adapter", parent=base, adapter=True)
        with pytest.raises(WrongState, match=f"the adapter {adapter} needs it"):
            await peer.student.delete(base)
        await peer.student.delete(adapter)
        await peer.student.delete(base)
        assert peer.student.store.names() == ["v1"]


async def test_a_damaged_version_can_be_deleted(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        name = add(peer.student, tmp_path, "damaged")
        (peer.student.store.path(name) / "manifest.json").write_text("{")
        await peer.student.delete(name)
        with pytest.raises(NotFound, match=f"there is no version '{name}'"):
            await peer.student.delete(name)


async def test_a_loaded_version_is_deleted_on_request_once_its_requests_have_ended(world):
    versions = await world.versions()
    await versions.load("v2")
    with pytest.raises(WrongState, match="v2 can't be deleted: it is loaded; --unload"):
        await versions.removal.remove("v2", not_needed)
    async with versions.lease("v2") as lease:
        deleting = asyncio.create_task(versions.removal.remove("v2", not_needed, unload=True))
        await until(lambda: versions.slot("v2").state is SlotState.DRAINING)
        assert (await lease.model.generate(None)).text == "v2"
        assert not deleting.done()
    await deleting
    assert versions.slot("v2") is None
    assert "v2" not in world.store.names()
    assert await ask(versions) == ("v1", "v1")


async def test_a_version_that_is_being_loaded_stays(world):
    versions = await world.versions()
    world.loader.holds["load", "v2"] = held = asyncio.Event()
    loading = asyncio.create_task(versions.load("v2"))
    await until(lambda: versions.slot("v2") is not None)
    with pytest.raises(WrongState, match="v2 can't be deleted: it is being loaded"):
        await versions.removal.remove("v2", not_needed, unload=True)
    held.set()
    await loading
    assert "v2" in world.store.names()


async def test_a_deletion_waits_for_a_swap_and_sees_its_pointers(world):
    versions = await world.versions()
    world.loader.holds["load", "v2"] = held = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: versions.slot("v2") is not None)

    def why(name):
        return "it is the previous version" if versions.pointers.previous == name else ""

    deleting = asyncio.create_task(versions.removal.remove("v1", why, unload=True))
    await asyncio.sleep(0)
    held.set()
    await promoting
    with pytest.raises(WrongState, match="v1 can't be deleted: it is the previous version"):
        await deleting
    assert "v1" in world.store.names()


def test_a_kill_in_the_middle_leaves_no_half_version(tmp_path):
    store = VersionStore(tmp_path)
    for name in ("a", "b"):
        store.add(fake_checkpoint(tmp_path / name), Origin(), Contract())
    (tmp_path / "versions" / ".last").unlink()  # as a store of an earlier release
    store.remove("v2")
    store.close()
    # The same as a kill after the rename of v1 and half of its files.
    leaving = tmp_path / "versions" / ".leaving-v1"
    (tmp_path / "versions" / "v1").rename(leaving)
    (leaving / "manifest.json").unlink()
    again = VersionStore(tmp_path)
    assert again.names() == []
    assert not leaving.exists()
    assert again.add(tmp_path / "a", Origin(), Contract()) == "v3"
    again.close()
