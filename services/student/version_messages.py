"""Description of a version, in memory and on disk, as mpa.v1.Version."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import cast

from protos.mpa.v1 import versions_pb2
from services.core.errors import InvalidInput, NotFound
from services.rpc.wire import contract_to_proto
from services.student.canaries import read as read_canaries
from services.student.endpoint import StudentEndpoint
from services.student.followers import Follower
from services.student.manifest import Manifest
from services.student.plan import SwapWay


async def describe(student: StudentEndpoint, name: str) -> versions_pb2.Version:
    """Describe a version. `error` names damage in memory or on disk. Raises NotFound."""
    slot = student.versions.slot(name)
    fault = await asyncio.to_thread(student.store.fault, name)
    state = slot.state.name if slot else "FAILED" if fault else "UNLOADED"
    version = versions_pb2.Version(
        name=name,
        state=f"VERSION_STATE_{state}",
        error=". ".join(filter(None, (slot.error if slot else "", fault))),
        leases=slot.leases if slot else 0,
        canaries_passed=slot.canaries.passed if slot and slot.canaries else -1,
    )
    await asyncio.to_thread(_add_files, version, student)
    if slot and slot.canaries:
        version.canaries = slot.canaries.total  # they may be this service's own
    return version


async def describe_all(student: StudentEndpoint) -> list[versions_pb2.Version]:
    """Describe all versions, the oldest first, without those that are deleted meanwhile."""
    found = []
    for name in await asyncio.to_thread(student.store.names):
        with suppress(NotFound):
            found.append(await describe(student, name))
    return found


def _add_files(version: versions_pb2.Version, student: StudentEndpoint) -> None:
    """Add the content of the version's files."""
    store = student.store
    version.size_bytes = store.size_bytes(version.name)
    version.needed = student.needs(version.name)
    with suppress(InvalidInput):  # `error` names it
        _add_manifest(version, store.manifest(version.name))
    try:
        version.canaries = len(read_canaries(store.path(version.name)))
    except InvalidInput as error:
        version.error = version.error or str(error)


def _add_manifest(version: versions_pb2.Version, manifest: Manifest) -> None:
    """Add provenance and contract."""
    origin = manifest.origin
    version.weights_sha256 = manifest.weights_sha256
    version.parent = origin.parent
    version.run = origin.run
    version.recipe = origin.recipe
    version.create_time.FromDatetime(datetime.fromisoformat(manifest.created_at))
    version.contract.CopyFrom(contract_to_proto(manifest.contract))
    version.metrics.update(origin.metrics)
    version.adapter_of = manifest.adapter_of
    version.is_trial = origin.is_trial
    version.model = origin.model


def way_to_proto(way: SwapWay) -> versions_pb2.SwapWay:
    """A way of a swap on the wire."""
    return cast(versions_pb2.SwapWay, versions_pb2.SwapWay.Value(f"SWAP_WAY_{way.name}"))


def describe_follower(follower: Follower) -> versions_pb2.Follower:
    """Describe a follower as its owner sees it."""
    note = follower.note
    state = "LOST" if follower.is_lost else note.state.name
    return versions_pb2.Follower(
        address=note.address,
        state=f"FOLLOWER_STATE_{state}",
        version=note.version,
        error=follower.trouble,
        silent_seconds=follower.silent_s,
    )
