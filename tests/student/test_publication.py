"""A version's model card, and its files for others, over gRPC."""

import asyncio

import grpc
import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.errors import InvalidInput, NotFound
from services.orchestrator.exports.model_folder import complete
from services.rpc.client import StudentClient
from services.rpc.client.download import receive_files
from services.student.manifest import Origin
from services.student.publication import MAX_CARD_CHARS
from tests.serving import fake_checkpoint, fake_student_settings, serving_student

CARD = "# Student\n\n\u202e|`<b>`\n"


@pytest.fixture
async def peer(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        origin = Origin(parent="v1", run="a", model="ours/small@main")
        peer.student.store.add(fake_checkpoint(tmp_path / "trained", skill=0.9), origin, Contract())
        yield peer


async def promote(peer, name, card, expected_live=""):
    request = versions_pb2.PromoteVersionRequest(name=name, card=card, expected_live=expected_live)
    return await peer.versions.PromoteVersion(request)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_promotion_keeps_the_card_and_the_version_stays_whole(peer):
    store = peer.student.store
    store.verify("v2")
    await promote(peer, "v2", CARD)
    assert (store.path("v2") / "README.md").read_text() == CARD
    store.require_unchanged("v2")
    assert store.fault("v2") == ""
    await promote(peer, "v1", "")
    assert not (store.path("v1") / "README.md").exists()
    await promote(peer, "v2", "")
    assert (store.path("v2") / "README.md").read_text() == CARD


async def test_a_card_comes_again_after_a_lost_reply(peer):
    await promote(peer, "v2", "", expected_live="v1")
    await promote(peer, "v2", CARD, expected_live="v1")
    assert (peer.student.store.path("v2") / "README.md").read_text() == CARD


async def test_too_long_a_card_promotes_nothing(peer):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await promote(peer, "v2", "x" * (MAX_CARD_CHARS + 1))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert peer.student.versions.pointers.live == "v1"


async def test_a_version_is_exported_with_its_card(peer, tmp_path):
    store = peer.student.store
    await promote(peer, "v2", CARD)
    (store.path("v2") / "empty.txt").touch()
    (store.path("v2") / ".README.md.77-0a1b").touch()  # of a card that is being written
    async with StudentClient(peer.address) as client:
        version = await client.version("v2")
        await client.export("v2", tmp_path / "out")
    complete(tmp_path / "out", version)
    found = files(store.path("v2"))
    expected = {
        name: found[name] for name in found if not name.startswith(("canaries/", ".README"))
    }
    assert len(found) > len(expected), "the version has canaries"
    assert files(tmp_path / "out") == expected
    assert {"README.md", "empty.txt", "manifest.json"} <= set(expected)
    assert (version.model, version.parent) == ("ours/small@main", "v1")


async def test_a_version_without_a_card_gets_one_from_its_manifest(peer, tmp_path):
    async with StudentClient(peer.address) as client:
        version = await client.version("v2")
        await client.export("v2", tmp_path / "out")
        with pytest.raises(NotFound):
            await client.export("v7", tmp_path / "none")
    complete(tmp_path / "out", version)
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model: "ours/small"' in card
    assert "No evaluation is recorded" in card
    (tmp_path / "out" / "fake.json").write_text("{}")
    with pytest.raises(InvalidInput, match="arrived with sha256"):
        complete(tmp_path / "out", version)


async def test_of_an_adapter_the_merged_model_is_exported(peer, tmp_path):
    made = fake_checkpoint(tmp_path / "adapted", skill=0.8)
    (made / "adapter").mkdir()
    (made / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    name = peer.student.store.add(made, Origin(parent="v1"), Contract())
    async with StudentClient(peer.address) as client:
        version = await client.version(name)
        await client.export(name, tmp_path / "out")
    complete(tmp_path / "out", version)
    assert version.adapter_of == "v1"
    assert set(files(tmp_path / "out")) == {"README.md", "fake.json", "manifest.json"}
    assert "merged into its weights" in (tmp_path / "out" / "README.md").read_text()


async def test_a_damaged_version_is_not_exported(peer, tmp_path):
    (peer.student.store.path("v2") / "fake.json").write_text("{}")
    async with StudentClient(peer.address) as client:
        with pytest.raises(InvalidInput, match="damaged"):
            await client.export("v2", tmp_path / "out")


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "", "a//b", ".", "a\0b"])
def test_a_student_writes_nothing_out_of_the_folder(tmp_path, path):
    async def parts():
        yield versions_pb2.ExportVersionResponse(path=path, data=b"x")

    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInput, match="no path in a version's folder"):
        asyncio.run(receive_files(parts(), tmp_path / "out"))
    assert files(tmp_path) == {}
