import json

import pytest

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, NotFound
from services.student.pointers import Pointers
from services.student.store import MANIFEST, Origin, VersionStore
from tests.serving import fake_checkpoint


@pytest.fixture
def store(tmp_path):
    return VersionStore(tmp_path / "store")


def test_versions_are_numbered_and_keep_their_origin(store, tmp_path):
    first = store.add(fake_checkpoint(tmp_path / "a", skill=0.5), Origin(), Contract())
    second = store.add(fake_checkpoint(tmp_path / "b", skill=0.9), Origin(parent=first, run="r1", job="j1"), Contract())
    assert store.names() == ["v1", "v2"]
    assert store.manifest(second).origin.parent == "v1"
    assert store.made_by("j1") == "v2"
    assert store.made_by("other") == ""
    assert store.manifest(first).weights_sha256 != store.manifest(second).weights_sha256


def test_a_changed_file_is_found_out(store, tmp_path):
    name = store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    (store.path(name) / "fake.json").write_text('{"skill": 1.0}')
    with pytest.raises(InvalidInput, match="v1 is damaged"):
        store.verify(name)


@pytest.mark.parametrize("name", ["v9", "", "../v1", "v1/..", ".incoming-v1"])
def test_a_version_that_does_not_exist(store, tmp_path, name):
    store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    with pytest.raises(NotFound, match="there are v1"):
        store.path(name)


def test_half_written_versions_are_swept_away(store, tmp_path):
    store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    leftover = tmp_path / "store" / "versions" / ".incoming-v2"
    leftover.mkdir()
    (leftover / MANIFEST).write_text("{")
    store.close()
    again = VersionStore(tmp_path / "store")
    assert again.names() == ["v1"]
    assert not leftover.exists()


def test_a_store_has_one_owner(store, tmp_path):
    with pytest.raises(Conflict, match="another student service"):
        VersionStore(tmp_path / "store")
    store.close()
    VersionStore(tmp_path / "store").close()


def test_pointers_survive(store, tmp_path):
    assert store.pointers() == Pointers()
    store.point(Pointers(live="v2", previous="v1"))
    store.close()
    assert VersionStore(tmp_path / "store").pointers() == Pointers(live="v2", previous="v1")
    assert json.loads((tmp_path / "store" / "pointers.json").read_text())["live"] == "v2"
