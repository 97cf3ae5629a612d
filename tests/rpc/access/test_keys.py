"""The file of keys: what it holds, and what it never holds."""

import json
import stat
import threading
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput, NotFound
from services.rpc.access.keys import (
    TOKEN,
    KeyLimits,
    add_key,
    hash_of,
    new_key,
    read_keys,
    revoke_key,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "keys.json"


def test_a_key_is_stored_as_its_hash_alone(path):
    key, token = new_key("bob", ["ask", "read"], lifetime_s=60.0)
    add_key(path, key)
    assert TOKEN.fullmatch(token)
    assert token not in path.read_text() and token.rpartition("-")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (read,) = read_keys(path)
    assert read == key
    assert read.sha256 == hash_of(token)
    assert read.expires == read.created + 60.0


def test_no_two_keys_are_alike():
    assert len({new_key("bob", ["ask"])[1] for _ in range(100)}) == 100


def test_a_revoked_key_stays_in_the_file(path):
    key, _ = new_key("bob", ["ask"])
    add_key(path, key)
    assert revoke_key(path, key.id).fault(0.0) == "KEY_REVOKED"
    before = read_keys(path)
    revoke_key(path, key.id)
    assert read_keys(path) == before, "the first time counts"
    with pytest.raises(NotFound, match="keys list"):
        revoke_key(path, "00000000")


def test_commands_at_the_same_time_lose_no_key(path):
    def add(number):
        add_key(path, new_key(f"caller {number}", ["ask"])[0])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(path)) == 16


def test_a_link_to_the_file_stays_a_link(path, tmp_path):
    add_key(path, new_key("bob", ["ask"])[0])
    link = tmp_path / "link.json"
    link.symlink_to(path)
    add_key(link, new_key("eve", ["ask"])[0])
    assert link.is_symlink()
    assert len(read_keys(path)) == 2


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\x1b[31m", "\x00"])
def test_a_name_is_printable(name):
    with pytest.raises(InvalidInput, match="name"):
        new_key(name, ["ask"])


@pytest.mark.parametrize("roles", [[], ["root"], ["ask", ""]])
def test_roles_are_known(roles):
    with pytest.raises(InvalidInput, match="ask"):
        new_key("bob", roles)


GOOD = {"id": "0" * 8, "name": "bob", "roles": ["ask"], "sha256": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": 5}',
        '{"keys": [5]}',
        "[" * 100_000,
        json.dumps({"keys": [GOOD, GOOD]}),
        *(
            json.dumps({"keys": [{**GOOD, **fault}]})
            for fault in (
                {"id": "x"},
                {"id": 5},
                {"name": None},
                {"roles": []},
                {"roles": "ask"},
                {"roles": ["root"]},
                {"sha256": ""},
                {"sha256": "abc"},
                {"expires": "never"},
                {"expires": float("nan")},
                {"revoked": None},
                {"limits": {"requests_per_minute": "5"}},
                {"limits": {"unknown": 5}},
                {"unknown": 5},
            )
        ),
    ],
)
def test_a_damaged_file_is_refused_as_a_whole(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InvalidInput, match="damaged"):
        read_keys(path)


def test_a_missing_file_says_how_to_make_one(path):
    with pytest.raises(InvalidInput, match="mpa-orch keys add"):
        read_keys(path)


def test_limits_survive_the_file(path):
    limits = KeyLimits(requests_per_minute=5, storage_bytes=2**40)
    add_key(path, replace(new_key("bob", ["ask"])[0], limits=limits))
    assert read_keys(path)[0].limits == limits
