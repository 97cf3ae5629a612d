"""Damaged files of a store: the damage is named and affects only its version or job."""

import json
import os
import shutil

import grpc
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2, versions_pb2
from services.core.contract import Contract
from services.engines.images import sha256
from services.rpc.status import from_rpc_error
from services.student.manifest import MANIFEST, Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore
from tests.pictures import numbered_png, png
from tests.serving import fake_checkpoint, fake_student_settings, serving_student


@pytest.fixture
def settings(tmp_path):
    """Settings of a service whose store has v1 to v3, the second live."""
    settings = fake_student_settings(tmp_path, skill=0.5)
    store = VersionStore(settings.store)
    for number in range(1, 4):
        store.add(
            fake_checkpoint(tmp_path / f"{number}", skill=number / 4),
            Origin(parent="v1"),
            Contract(),
        )
    store.point(Pointers(live="v2", previous="v1"))
    store.close()
    return settings


def _change(**fields):
    def damage(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


def _remove(key):
    def damage(path):
        raw = json.loads(path.read_text())
        del raw[key]
        path.write_text(json.dumps(raw))

    return damage


def _folder(path):
    path.unlink()
    path.mkdir()


def _loop(path):
    path.unlink()
    path.symlink_to(path)


DAMAGES = {
    "cut off": lambda path: path.write_text(path.read_text()[:40]),
    "empty": lambda path: path.write_text(""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 10),
    "a list": lambda path: path.write_text("[]"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "of a later release": _change(zeal=1),
    "a name that is a number": _change(name=3),
    "an origin of a later release": _change(origin={"parent": "v1", "zeal": "x"}),
    "an origin that is a word": _change(origin="v1"),
    "a time that is none": _change(created_at="yesterday"),
    "a weights hash that is gone": _remove("weights_sha256"),
    "a folder": _folder,
    "a loop": _loop,
    "gone": lambda path: path.unlink(),
}


async def _serves_all_but(peer, damaged, file):
    listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
    listed = {version.name: version for version in listing.versions}
    assert list(listed) == ["v1", "v2", "v3"]
    for name, version in listed.items():
        got = (await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name=name))).version
        assert got == version
        assert bool(version.error) == (name == damaged)
    assert listed[damaged].state == versions_pb2.VERSION_STATE_FAILED
    assert str(file) in listed[damaged].error
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=png()), question="what?")
    assert (await peer.answers.Answer(request)).version == listing.live
    return listing


async def _train(peer, **fields):
    image = numbered_png(1)

    async def parts():
        yield training_pb2.UploadDatasetRequest(image=image)
        sample = training_pb2.TrainingSample(
            image_sha256=sha256(image), question="what?", answer="red"
        )
        yield training_pb2.UploadDatasetRequest(sample=sample)

    dataset = (await peer.training.UploadDataset(parts())).dataset
    operation = await peer.training.Train(training_pb2.TrainRequest(dataset=dataset, **fields))
    return await peer.operations.WaitOperation(
        operations_pb2.WaitOperationRequest(name=operation.name)
    )


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_manifest_is_shown_and_concerns_no_other_version(
    settings, tmp_path, damage
):
    file = settings.store / "versions" / "v3" / MANIFEST
    damage(file)
    async with serving_student(settings) as peer:
        listing = await _serves_all_but(peer, "v3", file)
        assert (listing.live, listing.previous) == ("v2", "v1")
        for call, request in (
            (peer.versions.PromoteVersion, versions_pb2.PromoteVersionRequest(name="v3")),
            (peer.versions.LoadVersion, versions_pb2.LoadVersionRequest(name="v3")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request)
            assert from_rpc_error(refused.value).reason == "VERSION_CORRUPT"
        store = peer.student.store
        assert store.made_by("a job") == ""
        another = fake_checkpoint(tmp_path / "another")
        assert store.add(another, Origin(), Contract()) == "v4", "never the name of a damaged one"


async def test_a_live_version_that_is_damaged_gives_way_to_the_previous(settings):
    file = settings.store / "versions" / "v2" / MANIFEST
    file.write_text("{")
    async with serving_student(settings) as peer:
        assert (await _serves_all_but(peer, "v2", file)).live == "v1"


async def test_a_live_version_that_is_damaged_while_it_serves_goes_on(settings):
    file = settings.store / "versions" / "v2" / MANIFEST
    async with serving_student(settings) as peer:
        file.write_text("{")
        listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
        (live,) = (version for version in listing.versions if version.name == "v2")
        assert live.state == versions_pb2.VERSION_STATE_AVAILABLE
        assert str(file) in live.error
        assert str(file) in listing.swap_reason
        request = student_pb2.AnswerRequest(image=types_pb2.Image(data=png()), question="what?")
        assert (await peer.answers.Answer(request)).version == "v2"


async def test_without_a_whole_live_and_previous_version_the_newest_whole_one_serves(settings):
    for name in ("v1", "v2"):
        (settings.store / "versions" / name / MANIFEST).write_text("{")
    async with serving_student(settings) as peer:
        assert (await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())).live == "v3"


@pytest.mark.parametrize(
    "name", ["vX", "v01", "v-1", "v1.bak", "v" + "9" * 60, "v²", "V4", "lost+found"]
)
async def test_what_is_no_version_is_left_alone(settings, name):
    foreign = settings.store / "versions" / name
    shutil.copytree(settings.store / "versions" / "v1", foreign)
    (settings.store / "versions" / "v").write_text("a file")
    async with serving_student(settings) as peer:
        listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
        assert [version.name for version in listing.versions] == ["v1", "v2", "v3"]
        assert not any(version.error for version in listing.versions)
    assert (foreign / MANIFEST).is_file()


async def test_a_file_named_like_a_version_is_a_damaged_one(settings):
    file = settings.store / "versions" / "v4"
    file.write_text("")
    async with serving_student(settings) as peer:
        version = (
            await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v4"))
        ).version
        assert version.state == versions_pb2.VERSION_STATE_FAILED
        assert str(file) in version.error
        assert (await _train(peer)).HasField("response")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"live": 2}', '{"live": "v2", "zeal": "x"}', "\x00\xff", None]
)
async def test_damaged_pointers_fall_back_to_their_copy(settings, damage, caplog):
    file = settings.store / "pointers.json"
    file.unlink()
    if damage is not None:
        file.write_bytes(damage.encode("latin-1"))
    async with serving_student(settings) as peer:
        listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
        assert (listing.live, listing.previous) == ("v2", "v1")
        assert damage is None or str(file) in caplog.text
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
    assert json.loads(file.read_text()) == {"live": "v1", "candidate": "", "previous": "v2"}


async def test_without_pointers_and_copy_the_newest_whole_version_is_live(settings, caplog):
    (settings.store / "pointers.json").write_text("{")
    (settings.store / "pointers.copy.json").write_text("")
    (settings.store / "versions" / "v3" / MANIFEST).write_text("{")
    async with serving_student(settings) as peer:
        assert (await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())).live == "v2"
        assert "the newest whole version" in caplog.text


async def test_pointers_to_versions_that_are_gone(settings):
    file = settings.store / "pointers.json"
    file.write_text(json.dumps({"live": "v9", "candidate": "v8", "previous": "v7"}))
    async with serving_student(settings) as peer:
        listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
        assert listing.live == "v3"
        done = await _train(peer)
        response = training_pb2.TrainResponse()
        done.response.Unpack(response)
        assert response.version == "v4"


async def test_weights_that_change_on_disk_after_they_were_loaded_are_noticed(settings, caplog):
    async with serving_student(settings) as peer:
        file = settings.store / "versions" / "v2" / "fake.json"
        before = (await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))).version
        assert not before.error
        text = file.read_text()
        file.write_text(text.replace("0.5", "0.6"))
        damaged = (
            await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))
        ).version
        assert "v2 is damaged: its weights" in damaged.error
        assert damaged.state == versions_pb2.VERSION_STATE_AVAILABLE, "what is in memory is whole"
        assert "v2 is damaged: its weights" in caplog.text
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _train(peer)
        assert from_rpc_error(refused.value).reason == "VERSION_CORRUPT"
        file.write_text(text)
        assert not (
            await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))
        ).version.error


async def test_a_file_that_was_only_touched_is_whole(settings):
    async with serving_student(settings) as peer:
        os.utime(settings.store / "versions" / "v2" / "fake.json")
        assert not (
            await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))
        ).version.error
