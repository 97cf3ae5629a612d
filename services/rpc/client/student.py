"""Client of the student: answers and versions; training.py has its training."""

from __future__ import annotations

import asyncio
import math
import shutil
from pathlib import Path

import grpc

from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc
from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.provenance import Provenance
from services.rpc.client.client import CONTROL_TIMEOUT_S
from services.rpc.client.download import EXPORT_TIMEOUT_S, receive_files, too_old
from services.rpc.client.replies import (
    AnswerReply,
    FollowerStatus,
    Picture,
    Promotion,
    StoredVersion,
    StudentVersion,
    TrainedVersion,
    VersionList,
    VersionPointers,
)
from services.rpc.client.training import TrainingClient
from services.rpc.peer import ANSWER_TIMEOUT_S, Peer, Streamed
from services.rpc.wire import (
    CHECK,
    contract_from_proto,
    decoding_to_proto,
    finish_reason_from_proto,
    usage_from_proto,
)

_versions = versions_pb2_grpc.VersionServiceStub
_ANSWERS = Streamed(
    lambda channel: student_pb2_grpc.StudentServiceStub(channel).AnswerStream,
    student_pb2.AnswerStreamRequest,
)


class StudentClient(TrainingClient):
    """Answers, versions and training of the student at one address."""

    name = "student"

    async def answer(
        self,
        picture: Picture,
        question: str,
        template: str = "",
        decoding: Decoding | None = None,
        version: str = "",
        *,
        retry: bool = True,
        scored: bool = False,
    ) -> AnswerReply:
        """The answer of `version`, the live version by default.

        An empty `template` and a `decoding` of None are those of the version's contract. With
        `scored`, the reply has its `logprob`, unless the service is of an earlier release. Without
        `retry`, a unary call checks the endpoint: it fails at the first error and is never sampled.
        """

        async def send(peer: Peer, image: types_pb2.Image) -> student_pb2.AnswerResponse:
            request = student_pb2.AnswerRequest(
                image=image, question=question, template=template, version=version, scored=scored
            )
            if decoding is not None:
                request.decoding.CopyFrom(decoding_to_proto(decoding))
            if retry:
                asking = peer.streams(_ANSWERS).ask(request)
            else:
                unary = peer.stub(student_pb2_grpc.StudentServiceStub).Answer
                asking = unary(request, timeout=ANSWER_TIMEOUT_S, metadata=(CHECK,))
            response: student_pb2.AnswerResponse = await asking
            return response

        reply = await self._with_image(picture, send, version=version, retry=retry)
        return AnswerReply(
            reply.answer,
            reply.version,
            Provenance(
                finish_reason_from_proto(reply.finish_reason), usage_from_proto(reply.usage)
            ),
            reply.logprob if reply.HasField("logprob") and math.isfinite(reply.logprob) else None,
        )

    async def _listed(self) -> versions_pb2.ListVersionsResponse:
        request = versions_pb2.ListVersionsRequest()
        reply: versions_pb2.ListVersionsResponse = await self._control(
            lambda peer: peer.stub(_versions).ListVersions(request, timeout=CONTROL_TIMEOUT_S)
        )
        self.connection.note_accepted(reply.max_in_flight)
        return reply

    async def pointers(self) -> VersionPointers:
        reply = await self._listed()
        return VersionPointers(reply.live, reply.candidate, reply.previous)

    async def stored(self) -> VersionList:
        """All versions on the service's disk."""
        reply = await self._listed()
        return VersionList(
            tuple(map(_stored, reply.versions)),
            VersionPointers(reply.live, reply.candidate, reply.previous),
            tuple(map(_follower, reply.followers)),
        )

    async def delete(self, name: str, *, unload: bool = False) -> int:
        """Removes a version for good; the bytes that it took. Not retried: it may have happened.

        Raises NotFound; WrongState if something needs it, or if it is loaded, without `unload`.
        """
        request = versions_pb2.DeleteVersionRequest(name=name, unload=unload)
        reply = await self.connection.call_once(
            lambda: self._at_owner(
                lambda peer: peer.stub(_versions).DeleteVersion(request, timeout=CONTROL_TIMEOUT_S)
            )
        )
        return int(reply.freed_bytes)

    async def trainings(self) -> tuple[str, tuple[TrainedVersion, ...]]:
        """The preset of the service and the versions that it trained, oldest first."""
        reply = await self._listed()
        trained = [
            TrainedVersion(
                version.name,
                version.metrics["train_seconds"],
                round(version.metrics["train_steps"]),
                version.adapter_of != "",
            )
            for version in reply.versions
            if version.metrics.get("train_steps")
        ]
        return reply.preset, tuple(trained)

    async def version(self, name: str) -> StudentVersion:
        """Raises NotFound."""
        request = versions_pb2.GetVersionRequest(name=name)
        reply = await self._control(
            lambda peer: peer.stub(_versions).GetVersion(request, timeout=CONTROL_TIMEOUT_S)
        )
        is_loaded = reply.version.state == versions_pb2.VERSION_STATE_AVAILABLE
        contract = contract_from_proto(reply.version.contract, Contract())
        found = reply.version
        return StudentVersion(
            found.name,
            is_loaded,
            found.weights_sha256,
            contract,
            model=found.model,
            parent=found.parent,
            created_at=_created_at(found),
            metrics=dict(found.metrics),
            adapter_of=found.adapter_of,
        )

    async def export(self, name: str, folder: Path) -> None:
        """Writes the files of a version to `folder`, which is made, from the start at each try.

        Raises NotFound; InvalidInput: damaged; WrongState: the service is of an earlier release.
        """
        request = versions_pb2.ExportVersionRequest(name=name)

        async def receive(peer: Peer) -> None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True)
            call = peer.stub(_versions).ExportVersion(request, timeout=EXPORT_TIMEOUT_S)
            try:
                await receive_files(call, folder)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    raise too_old(self.address) from None
                raise

        await self._control(receive)

    async def load(self, name: str) -> None:
        """Loads a version as the candidate. Raises WrongState, or InvalidInput for bad weights."""
        request = versions_pb2.LoadVersionRequest(name=name)
        await self._control(
            lambda peer: peer.stub(_versions).LoadVersion(request, timeout=CONTROL_TIMEOUT_S)
        )

    async def promote(self, name: str, expected_live: str, card: str = "") -> Promotion:
        """`card`: Markdown, which is kept with the version; "" keeps the one that it has.

        Raises Conflict if another version than `expected_live` is live.
        """
        request = versions_pb2.PromoteVersionRequest(
            name=name, expected_live=expected_live, card=card
        )
        reply = await self._control(
            lambda peer: peer.stub(_versions).PromoteVersion(request, timeout=CONTROL_TIMEOUT_S)
        )
        missing = tuple(f"{each.address}: {each.error}" for each in reply.followers if each.error)
        return Promotion(VersionPointers(reply.live, previous=reply.previous), missing)

    async def rollback(self) -> VersionPointers:
        """Makes the previous version live. Not retried: a second rollback would undo the first."""
        request = versions_pb2.RollbackVersionRequest()
        reply = await self.connection.call_once(
            lambda: self._at_owner(
                lambda peer: peer.stub(_versions).RollbackVersion(
                    request, timeout=CONTROL_TIMEOUT_S
                )
            )
        )
        return VersionPointers(reply.live, previous=reply.previous)


def _stored(version: versions_pb2.Version) -> StoredVersion:
    state = versions_pb2.VersionState.Name(version.state)
    return StoredVersion(
        name=version.name,
        state=state.removeprefix("VERSION_STATE_").lower(),
        size_bytes=version.size_bytes,
        parent=version.parent,
        run=version.run,
        recipe=version.recipe,
        adapter_of=version.adapter_of,
        is_trial=version.is_trial,
        created_at=_created_at(version),
        weights_sha256=version.weights_sha256,
        metrics=dict(version.metrics),
        canaries=version.canaries,
        canaries_passed=version.canaries_passed,
        leases=version.leases,
        needed=version.needed,
        error=version.error,
    )


def _created_at(version: versions_pb2.Version) -> str:
    return str(version.create_time.ToDatetime()) if version.HasField("create_time") else ""


def _follower(follower: versions_pb2.Follower) -> FollowerStatus:
    state = versions_pb2.FollowerState.Name(follower.state)
    return FollowerStatus(
        address=follower.address,
        state=state.removeprefix("FOLLOWER_STATE_").lower(),
        version=follower.version,
        silent_s=follower.silent_seconds,
        error=follower.error,
    )
