"""`mpa-orch keys`: a key is shown once, on stdout alone."""

import json

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from services.rpc.access.keys import TOKEN, hash_of, read_keys


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["keys", *arguments])

    return invoke


def test_a_key_is_added_shown_once_listed_and_revoked(run, tmp_path):
    added = run("add", "shop", "--role", "ask", "--role", "read", "--expires", "90d")
    token = added.stdout.strip()
    assert added.exit_code == 0 and TOKEN.fullmatch(token)
    assert "shop" in added.stderr and token not in added.stderr
    (key,) = read_keys(tmp_path / ".mpa" / "keys.json")
    assert key.sha256 == hash_of(token)
    assert key.expires == pytest.approx(key.created + 90 * 86_400)

    listed = run("list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["roles"], row["state"]) == ("shop", ["ask", "read"], "valid")
    assert token not in listed.output and key.sha256 not in listed.output
    assert key.sha256 not in run("list").output

    assert run("revoke", key.id).exit_code == 0
    assert json.loads(run("list", "--json").stdout)[0]["state"] == "revoked"


def test_limits_are_kept(run, tmp_path):
    given = ["--concurrent", "8", "--storage", "2GiB", "--trainings-per-day", "3"]
    assert run("add", "lab", "--role", "train", *given).exit_code == 0
    (key,) = read_keys(tmp_path / ".mpa" / "keys.json")
    assert (key.limits.concurrent, key.limits.storage_bytes) == (8, 2 * 2**30)
    assert key.limits.trainings_per_day == 3
    assert "storage_bytes" in run("list").output.replace("\n", "")


def test_a_certificate_needs_no_key(run, tmp_path):
    added = run("add", "shop", "--role", "ask", "--certificate", "shop.example")
    assert added.exit_code == 0 and added.stdout == ""
    (key,) = read_keys(tmp_path / ".mpa" / "keys.json")
    assert (key.sha256, key.certificate) == ("", "shop.example")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["add", "shop"], 2, "--role"),
        (["add", "shop", "--role", "root"], 2, "root"),
        (["add", "shop", "--role", "ask", "--expires", "soon"], 2, "duration"),
        (["add", "a\nb", "--role", "ask"], 1, "printable"),
        (["list"], 1, "keys add"),
        (["revoke", "00000000"], 1, "keys add"),
    ],
)
def test_mistakes_are_named(run, arguments, code, words):
    done = run(*arguments)
    assert done.exit_code == code
    assert words in done.output
