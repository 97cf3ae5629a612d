import json
import os
import shutil

import pytest

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, NotFound, WrongState
from services.student.manifest import MANIFEST, Origin
from services.student.ownership import lock
from services.student.pointers import Pointers
from services.student.store import VersionStore, verified
from tests.serving import fake_checkpoint


@pytest.fixture
def store(tmp_path):
    return VersionStore(tmp_path / "store")


def test_versions_are_numbered_and_keep_their_origin(store, tmp_path):
    first = store.add(fake_checkpoint(tmp_path / "a", skill=0.5), Origin(), Contract())
    second = store.add(
        fake_checkpoint(tmp_path / "b", skill=0.9),
        Origin(parent=first, run="r1", job="j1"),
        Contract(),
    )
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


def test_damaged_pointers_are_logged_once_until_they_change(store, tmp_path, caplog):
    store.point(Pointers(live="v1"))
    file = tmp_path / "store" / "pointers.json"

    def complaints():
        caplog.clear()
        assert [store.pointers().live for _ in range(3)] == ["v1"] * 3
        return len(caplog.records)

    whole = file.read_text()
    assert complaints() == 0
    for damage, expected in (("{", 1), ("{", 0), ("[]", 1), (whole, 0), ("{", 1)):
        file.write_text(damage)
        assert complaints() == expected, damage


def test_a_file_system_without_locks_is_named(tmp_path):
    descriptor = os.open(tmp_path, os.O_PATH)  # which the kernel does not lock
    try:
        with pytest.raises(WrongState, match="mount NFS with locks"):
            lock(descriptor, tmp_path)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("damage", ["removed", "damaged", "named by pointers", "a damaged folder"])
def test_no_name_is_given_twice(store, tmp_path, damage):
    for number in range(2):
        store.add(fake_checkpoint(tmp_path / f"{number}"), Origin(), Contract())
    newest = tmp_path / "store" / "versions" / "v2"
    if damage == "removed":
        shutil.rmtree(newest)
    if damage == "damaged":
        (newest / MANIFEST).write_text("")
    if damage == "named by pointers":
        store.point(Pointers(live="v1", previous="v7"))
    if damage == "a damaged folder":
        (newest.parent / "v7").mkdir()
    following = "v8" if "pointers" in damage or "folder" in damage else "v3"
    assert store.add(fake_checkpoint(tmp_path / "next"), Origin(), Contract()) == following


def test_a_version_copied_by_hand_is_a_damaged_one(store, tmp_path):
    store.add(fake_checkpoint(tmp_path / "a"), Origin(job="j"), Contract())
    shutil.copytree(store.path("v1"), tmp_path / "store" / "versions" / "v2")
    assert "its name is v1" in store.fault("v2")
    assert store.made_by("j") == "v1"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("preprocessor_config.json", "its processor"),
        ("tokenizer.json", "its processor"),
        ("chat_template.jinja", "its chat template"),
        ("config.json", "its configuration"),
        ("code.py", "its configuration"),
        ("adapter/adapter_model.safetensors", "its configuration"),
        ("model.safetensors", "its weights"),
    ],
)
def test_each_file_that_decides_an_answer_is_guarded(store, tmp_path, file, said):
    checkpoint = fake_checkpoint(tmp_path / "a")
    (checkpoint / "adapter").mkdir()
    for name in (
        "preprocessor_config.json",
        "tokenizer.json",
        "config.json",
        "adapter/adapter_config.json",
    ):
        (checkpoint / name).write_text("{}")
    for name in (
        "chat_template.jinja",
        "code.py",
        "model.safetensors",
        "adapter/adapter_model.safetensors",
    ):
        (checkpoint / name).write_text("as it was")
    name = store.add(checkpoint, Origin(parent="v1"), Contract())
    store.verify(name)
    (store.path(name) / file).write_text('{"other": 1}')
    with pytest.raises(InvalidInput, match=f"v1 is damaged: {said}"):
        store.verify(name)
    assert not store.fault("v1") or said in store.fault("v1")


def test_a_version_that_changes_between_its_check_and_its_use_is_refused(store, tmp_path):
    name = store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    folder = store.verify(name)
    store.require_unchanged(name)
    (folder / "fake.json").write_text('{"skill": 1.0}')
    with pytest.raises(
        InvalidInput, match=r"v1 was changed on disk while it was loaded \(fake.json\)"
    ):
        store.require_unchanged(name)
    store.close()
    with pytest.raises(InvalidInput, match="its weights"), verified(folder):
        raise AssertionError


def test_what_comes_to_a_version_later_is_no_change(store, tmp_path):
    name = store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    folder = store.verify(name)
    (folder / "canaries").mkdir()
    (folder / "canaries" / "canaries.json").write_text("[]")
    store.require_unchanged(name)
    assert not store.fault(name)
