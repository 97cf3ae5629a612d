"""A store whose writers are killed, or whose disk is full."""

import signal
import subprocess
import sys

import pytest

from services.core.contract import Contract
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore
from tests.serving import fake_checkpoint
from tests.student.test_store import store

__all__ = ["store"]


WRITERS = """
import os, resource, signal, sys
from pathlib import Path
from services.core.contract import Contract
from services.core.errors import MpaError
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore

def limit(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

def kill(left, root):
    def count(event, arguments):
        nonlocal left
        writes = event in ("os.rename", "open", "os.mkdir", "os.remove")
        if writes and str(arguments[0]).startswith(root):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)

def write(root, checkpoint, how, number):
    store = VersionStore(Path(root))
    limit(number) if how == "full" else kill(number, root)
    try:
        name = store.add(Path(checkpoint), Origin(parent="v1"), Contract())
        store.point(Pointers(live=name, previous="v1"))
        return 0
    except MpaError as error:
        return 1 if error.reason == "STORAGE_FAILED" else 2

for line in sys.stdin:
    root, checkpoint, how, number = line.rstrip().split("\t")
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = write(root, checkpoint, how, int(number))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


DONE = 0


STORAGE_FAILED = 1


@pytest.fixture(scope="module")
def writers():
    """Function that adds a version in another process, and returns its exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(tmp_path, checkpoint, how, number):
            process.stdin.write(f"{tmp_path / 'store'}\t{checkpoint}\t{how}\t{number}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def _begin(store, tmp_path):
    """Make v1 live, and return a checkpoint of 10,000 bytes to add."""
    store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    store.point(Pointers(live="v1"))
    store.close()
    checkpoint = fake_checkpoint(tmp_path / "b")
    (checkpoint / "config.json").write_text(" " * 10_000)
    return checkpoint


def _live(tmp_path):
    """Live version of the store. Fails if the store is between two versions."""
    store = VersionStore(tmp_path / "store")
    assert not [
        path for path in (tmp_path / "store").rglob(".*") if path.name not in (".lock", ".last")
    ]
    for name in store.names():
        store.verify(name)
    live = store.pointers().live
    assert live in store.names()
    store.close()
    return live


@pytest.mark.parametrize("most", [1, 100, 9_000])
def test_a_disk_that_is_full_leaves_nothing_half_written(store, tmp_path, writers, most):
    checkpoint = _begin(store, tmp_path)
    assert writers(tmp_path, checkpoint, "full", most) == STORAGE_FAILED
    assert _live(tmp_path) == "v1"
    folders = [path for path in (tmp_path / "store" / "versions").iterdir() if path.is_dir()]
    assert [path.name for path in folders] == ["v1"]
    assert writers(tmp_path, checkpoint, "full", 10**6) == DONE
    assert _live(tmp_path) == "v2"


@pytest.mark.slow
def test_killed_at_any_moment_the_store_is_whole_at_the_next_start(store, tmp_path, writers):
    checkpoint = _begin(store, tmp_path)
    for calls in range(1, 100):
        code = writers(tmp_path, checkpoint, "killed", calls)
        live = _live(tmp_path)
        if code == DONE:
            break
        assert code == -signal.SIGKILL
    assert calls > 10
    assert live != "v1"


def test_what_killed_writers_left_anywhere_goes_at_the_start(store, tmp_path):
    root = tmp_path / "store"
    left = [
        root / ".pointers.json.7",
        root / "jobs" / "abc" / ".progress.json.12-0a1b2c3d",
        root / "datasets" / "images" / (".1" + "f" * 63 + ".99"),
        root / "datasets" / ".upload.5-00000000",
    ]
    kept = [
        root / "jobs" / "abc" / "log.txt",
        root / "datasets" / "images" / "f0",
        root / "jobs" / ".hidden",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (root / "versions" / ".incoming-v9").mkdir()
    store.close()
    VersionStore(root).close()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert not list((root / "versions").glob(".incoming-*"))


def test_a_copy_of_the_pointers_that_can_not_be_written_does_not_move_them_back(
    store, tmp_path, caplog
):
    (tmp_path / "store" / "pointers.copy.json").mkdir()
    store.point(Pointers(live="v2", previous="v1"))
    assert store.pointers() == Pointers(live="v2", previous="v1")
    assert "copy of the pointers" in caplog.text
