"""The student as a plain object, independent of gRPC and HTTP: owner of a store, and trainer."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import WrongState
from services.engines.checkpoint import resolve
from services.student.datasets import DatasetStore
from services.student.endpoint import StudentEndpoint
from services.student.followers import Followers
from services.student.heartbeat import own_address, write_owner
from services.student.job import Job, TrainingRequest
from services.student.jobs import TrainingJobs
from services.student.live import LivePointers
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.progress import TrainingProgress
from services.student.settings import StudentSettings
from services.student.store import VersionStore
from services.student.upload_room import UploadRoom

_log = logging.getLogger(__name__)


class HostedStudent(StudentEndpoint):
    """Owner of one store: it also trains, and moves the pointers that followers follow."""

    def __init__(self, settings: StudentSettings) -> None:
        self._settings = settings
        store = VersionStore(settings.store)
        followers = Followers(settings.store, settings.followers_s)
        super().__init__(settings, store, LivePointers(store), followers)
        self._watching = followers
        self._watch: asyncio.Task[None] | None = None
        self.datasets = DatasetStore(settings.store, takes_tiff=settings.rpc.images.takes_tiff)
        self.jobs = TrainingJobs(
            settings.store,
            self._publish,
            engine=settings.engine.engine,
            devices=settings.training_devices,
            execution=settings.training,
        )
        self.uploads = UploadRoom(self.datasets, settings.uploads, self.jobs.datasets_in_use)

    async def start(self) -> None:
        """Import the base model into an empty store, load the live version, resume the training.

        A student that does not serve loads no version.
        """
        address = own_address(self._settings.rpc.listen)
        await asyncio.to_thread(write_owner, self._settings.store, address)
        self._watch = asyncio.create_task(self._watching.watch())
        if not self.store.names():
            folder = await asyncio.to_thread(resolve, self._settings.model)
            contract = Contract(system_prompt=self.preset.system_prompt)
            await asyncio.to_thread(
                self.store.add, folder, Origin(), contract, self.preset.image_processor
            )
        if not self.store.pointers().live:
            self._point_at_newest()
        await asyncio.to_thread(self.uploads.sweep)
        if self._settings.is_serving:
            await self.versions.start()
        else:
            self.versions.rest()
        self.jobs.resume()

    def _point_at_newest(self) -> None:
        """Make the newest whole version of a store without pointers live. Raises WrongState."""
        whole = self.store.intact()
        if not whole:
            faults = "; ".join(self.store.fault(name) for name in self.store.names())
            raise WrongState(f"no version can be served: {faults}", reason="NO_VERSION")
        if len(self.store.names()) > 1:
            _log.error("the pointers are lost: %s, the newest whole version, is live", whole[0])
        self.store.point(Pointers(live=whole[0]))

    def end_waits(self) -> None:
        self.jobs.end_waits()

    async def close(self) -> None:
        await self.jobs.close()
        if self._watch is not None:
            self._watch.cancel()
        await super().close()

    async def train(self, request: TrainingRequest) -> str:
        """Start a training, and return its job's name. Raises NotFound, InvalidInput, Conflict."""
        await asyncio.to_thread(self.datasets.verify, request.dataset)
        base = await asyncio.to_thread(self.store.verify, request.base_version)
        request.contract.require_trainable_from(self.store.manifest(request.base_version).contract)
        return self.jobs.start(request, base)

    def _publish(self, job: Job, output: Path, progress: TrainingProgress) -> str:
        made = self.store.made_by(job.id)
        if made:
            return made
        metrics = {
            "train_loss": progress.loss,
            "train_seconds": progress.seconds,
            "train_steps": float(progress.total_steps),
        }
        origin = Origin(
            parent=job.base_version,
            run=job.run,
            recipe=job.recipe,
            dataset=job.dataset,
            job=job.id,
            metrics=metrics,
        )
        return self.store.add(output, origin, job.contract, is_ours=True)
