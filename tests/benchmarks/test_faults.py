"""Faults at random moments; `python -m benchmarks.faults` tries two hundred."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.faults.__main__ import IMPOSSIBLE
from benchmarks.faults.invariants import leftovers, on_disk
from benchmarks.faults.promised import Promised
from services.core.contract import Contract
from services.rpc.access.keys import add_key, new_key
from services.student.datasets import DatasetStore, TrainingSample
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore
from tests.e2e.processes import ROOT
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint
from tests.tools import missing

CASES = (2, 41, 57, 72, 115, 134)
"""Kill, network cut, kill, full disk, SIGSTOP, clock jump; in uploads, trainings, promotions."""


@pytest.mark.slow
def test_no_promise_is_broken_by_faults():
    command = [sys.executable, "-m", "benchmarks.faults", "--only", *map(str, CASES)]
    tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if tried.returncode == IMPOSSIBLE:
        missing(tried.stderr)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert tried.stdout.count(": 0 violations") == len(CASES)


class Kept:
    """A store with one of everything, and the promises that it keeps."""

    def __init__(self, folder):
        self.root = folder / "store"
        self.keys = folder / "keys.json"
        self.store = VersionStore(self.root)
        checkpoint = fake_checkpoint(folder / "checkpoint")
        for _ in range(2):
            self.store.add(checkpoint, Origin(), Contract())
        self.store.point(Pointers(live="v2"))
        self.datasets = DatasetStore(self.root)
        self.image = self.datasets.add_image(numbered_png(1))
        self.dataset = self.add("what?")
        self.job = self.root / "jobs" / "one"
        self.job.mkdir(parents=True)
        key, token = new_key("caller", ["ask"])
        add_key(self.keys, key)
        self.audit = self.root / "audit.jsonl"
        self.audit.write_text(json.dumps({"action": "Train", "result": "OK"}) + "\n")
        self.promised = Promised(
            datasets={self.dataset: frozenset({self.image})},
            versions={name: self.store.manifest(name).weights_sha256 for name in ("v1", "v2")},
            keys=[token],
            audited=Counter(Train=1),
            live="v2",
        )

    def add(self, question):
        name = self.datasets.add([TrainingSample(self.image, question, "red")])
        owner = self.datasets.root / f"{name}.owner"
        owner.write_text('{"key": "a", "size_bytes": 1}')
        return name

    def violations(self):
        return list(on_disk(self.root, self.promised, self.keys))


BROKEN = {
    "versions are lost: ['v1']": lambda it: shutil.rmtree(it.store.path("v1")),
    "version v2: ": lambda it: (it.store.path("v2") / "fake.json").write_text("{}"),
    "versions were never acknowledged": lambda it: it.promised.versions.pop("v1"),
    "v1 is live on the disk": lambda it: it.store.point(Pointers(live="v1")),
    "data sets are lost": lambda it: it.datasets.path(it.dataset).unlink(),
    "data sets were never acknowledged": lambda it: it.add("another?"),
    "is damaged": lambda it: it.datasets.path(it.dataset).write_text("{}"),
    "is charged to nobody": lambda it: (it.datasets.root / f"{it.dataset}.owner").unlink(),
    "is lost or damaged": lambda it: it.datasets.image_path(it.image).write_bytes(b""),
    "trainings {} are there": lambda it: it.promised.trainings.update(one="operations/one"),
    "a key is lost": lambda it: it.promised.keys.append("mpa-another"),
    "the audit log has 1 of 2": lambda it: it.promised.audited.update(["Train"]),
    "a second service could own": lambda it: it.store.close(),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_promise_is_found(tmp_path, said):
    kept = Kept(tmp_path)
    assert kept.violations() == []
    BROKEN[said](kept)
    assert any(said in each for each in kept.violations())


def test_files_that_are_left_behind_are_found(tmp_path):
    kept = Kept(tmp_path)
    (kept.job / "job.json").touch()
    assert leftovers(kept.root, kept.promised) == []
    left = [
        kept.root / "datasets" / "images" / "unnamed",
        kept.root / "datasets" / ".upload.1-00000000",
        kept.root / "versions" / ".incoming-v3",
        kept.job / "checkpoints",
        kept.root / "jobs" / "empty",
    ]
    for path in left:
        path.mkdir()
    assert sorted(leftovers(kept.root, kept.promised)) == sorted(map(str, left))
