"""Checks of a store and its services after a fault: every promise is kept, and nothing is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.faults.promised import Promised
from services.core.errors import Conflict, MpaError
from services.rpc.access.audit_log import OK
from services.rpc.access.keys import hash_of, read_keys
from services.rpc.client.student import StudentClient
from services.student.datasets import DatasetStore
from services.student.job import Job
from services.student.ownership import lock_store
from services.student.store import VersionStore

SETTLED_S = 10.0
"""Time for followers to catch up, and for unfinished files to be removed."""
LEFTOVERS = ("checkpoints", "output.partial", "trained", "output")


def on_disk(root: Path, promised: Promised, keys: Path) -> Iterator[str]:
    """Violations that the files show."""
    yield from _versions(root, promised)
    yield from _datasets(root, promised)
    yield from _trainings(root, promised)
    known = {key.sha256 for key in read_keys(keys)}
    yield from (f"a key is lost: {key[:12]}" for key in promised.keys if hash_of(key) not in known)
    yield from _audit(root, promised)
    try:
        lock_store(root).close()
    except Conflict:
        pass
    else:
        yield "a second service could own the store"


def _versions(root: Path, promised: Promised) -> Iterator[str]:
    store = VersionStore(root, is_owner=False)
    yield from _differences("versions", store.names(), promised.versions)
    for name in store.names():
        try:
            store.verify(name)
            manifest = store.manifest(name)
        except MpaError as error:
            yield f"version {name}: {error}"
        else:
            if manifest.weights_sha256 != promised.versions.get(name, manifest.weights_sha256):
                yield f"version {name} has other weights than it had"
    live = store.pointers().live
    if live != promised.live:
        yield f"{live} is live on the disk, {promised.live} was acknowledged"


def _datasets(root: Path, promised: Promised) -> Iterator[str]:
    store = DatasetStore(root)
    yield from _differences("data sets", store.names(), promised.datasets)
    for name, images in promised.datasets.items():
        try:
            if hashlib.sha256(store.path(name).read_bytes()).hexdigest() != name:
                yield f"data set {name} is damaged"
        except MpaError as error:
            yield f"data set {name}: {error}"
        owner = store.root / f"{name}.owner"
        if not owner.is_file() or json.loads(owner.read_text())["size_bytes"] <= 0:
            yield f"data set {name} is charged to nobody"
        for image in images:
            path = store.image_path(image)
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != image:
                yield f"image {image} of data set {name} is lost or damaged"


def _trainings(root: Path, promised: Promised) -> Iterator[str]:
    folders = [path.parent for path in (root / "jobs").glob("*/job.json")]
    found = {Job.read(folder).request_id: f"operations/{folder.name}" for folder in folders}
    if len(found) != len(folders):
        yield f"{len(folders)} trainings of {len(found)} requests: one was started twice"
    if found != promised.trainings:
        yield f"trainings {found} are there, {promised.trainings} were acknowledged"
    store = VersionStore(root, is_owner=False)
    makers = Counter(store.manifest(name).origin.job for name in store.intact())
    yield from (
        f"training {job} has made {count} versions"
        for job, count in makers.items()
        if job and count > 1
    )


def _audit(root: Path, promised: Promised) -> Iterator[str]:
    lines = [json.loads(line) for line in (root / "audit.jsonl").read_text().splitlines() if line]
    found = Counter(line["action"] for line in lines if line["result"] == OK)
    yield from (
        f"the audit log has {found[action]} of {count} acknowledged {action}"
        for action, count in promised.audited.items()
        if found[action] < count
    )


def _differences(what: str, found: Iterable[str], promised: Iterable[str]) -> Iterator[str]:
    there, due = set(found), set(promised)
    if lost := due - there:
        yield f"{what} are lost: {sorted(lost)}"
    if strange := there - due:
        yield f"{what} were never acknowledged: {sorted(strange)}"


def leftovers(root: Path, promised: Promised) -> list[str]:
    """Files that only an operation under way may have."""
    named = {image for images in promised.datasets.values() for image in images}
    images = root / "datasets" / "images"
    return [
        *(str(path) for path in root.rglob(".*") if path.name not in (".lock", ".last")),
        *(str(path) for path in (root / "jobs").glob("*") if not (path / "job.json").is_file()),
        *(str(path) for part in LEFTOVERS for path in (root / "jobs").glob(f"*/{part}")),
        *(str(path) for path in images.glob("*") if path.name not in named),
    ]


async def settled(check: Callable[[], list[str]]) -> list[str]:
    """Findings of `check` after SETTLED_S; it ends as soon as there are none."""
    end = time.monotonic() + SETTLED_S
    while True:
        found = await asyncio.to_thread(check)
        if not found or time.monotonic() > end:
            return found
        await asyncio.sleep(0.1)


async def served(client: StudentClient, promised: Promised) -> list[str]:
    """Violations that the service's own list shows."""
    listed = await client.stored()
    found = [*_differences("listed versions", [v.name for v in listed.versions], promised.versions)]
    found += [f"version {v.name}: {v.error}" for v in listed.versions if v.error]
    if listed.pointers.live != promised.live:
        found.append(f"{listed.pointers.live} is live, {promised.live} was acknowledged")
    return found


async def followed(client: StudentClient, promised: Promised) -> list[str]:
    """Wait until a follower serves the live version."""
    end = time.monotonic() + SETTLED_S
    live = ""
    while live != promised.live and time.monotonic() < end:
        try:
            live = (await client.pointers()).live
        except MpaError as error:
            live = str(error)
        await asyncio.sleep(0.05)
    if live != promised.live:
        return [f"the follower serves {live} {SETTLED_S:g} s after the fault"]
    return []
