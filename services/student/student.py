"""The student as a plain object, independent of gRPC and HTTP: owner of a store, and trainer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import InvalidInput, WrongState
from services.core.presets import Hyperparameters
from services.engines.checkpoint import require_trainable, resolve
from services.engines.gpus import require_named
from services.student import reference
from services.student.datasets import DatasetStore
from services.student.disk import require_disk_space
from services.student.endpoint import StudentEndpoint
from services.student.followers import Followers
from services.student.heartbeat import own_address, write_owner
from services.student.job import Job, TrainingRequest
from services.student.jobs import TrainingJobs
from services.student.live import LivePointers
from services.student.manifest import Origin
from services.student.plan import Plan
from services.student.pointers import Pointers
from services.student.progress import TrainingProgress
from services.student.publication import keep_card, require_card
from services.student.sample_losses import SampleLosses, read_losses
from services.student.settings import StudentSettings
from services.student.store import VersionStore
from services.student.training_advice import DEVICES
from services.student.training_room import TrainingRoom, training_room
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
        Raises InvalidInput: a GPU for trainings is not there.
        """
        await asyncio.to_thread(self._require_devices)
        address = own_address(self._settings.rpc.listen)
        await asyncio.to_thread(write_owner, self._settings.store, address)
        self._watch = asyncio.create_task(self._watching.watch())
        if not self.store.names():
            folder = await asyncio.to_thread(resolve, self._settings.model)
            contract = Contract(system_prompt=self.preset.system_prompt)
            has_reference = await asyncio.to_thread(reference.can_compute, folder)
            engine = self._settings.engine.engine
            model = self._settings.model
            published = "" if Path(model).is_dir() else model
            origin = Origin(canaries_by="" if has_reference else engine, model=published)
            await asyncio.to_thread(
                self.store.add, folder, origin, contract, self.preset.image_processor
            )
        if not self.store.pointers().live:
            self._point_at_newest()
        await asyncio.to_thread(self.uploads.sweep)
        if self._settings.is_serving:
            await self.versions.start()
        else:
            self.versions.rest()
        self.jobs.resume()
        try:
            await asyncio.to_thread(self._require_trainable, self.store.pointers().live)
        except InvalidInput as error:
            _log.warning("%s", error)

    def _require_devices(self) -> None:
        if self._settings.training_devices:
            require_named(DEVICES, self._settings.training_devices)

    def _require_trainable(self, version: str) -> None:
        """Raises InvalidInput: the version has a published form that no training can read."""
        preset = self.preset.name if self._settings.model == self.preset.model else ""
        require_trainable(self.store.path(version), preset or self._settings.model)

    def _point_at_newest(self) -> None:
        """Make the newest whole version of a store without pointers live. Raises WrongState."""
        whole = self.store.servable()
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
        await asyncio.to_thread(self._require_devices)
        await asyncio.to_thread(self.datasets.verify, request.dataset)
        await asyncio.to_thread(self._require_trainable, request.base_version)
        base = await asyncio.to_thread(self.store.verify, request.base_version)
        request.contract.require_trainable_from(self.store.manifest(request.base_version).contract)
        return self.jobs.start(request, base)

    async def promote(self, name: str, expected_live: str, card: str) -> tuple[Pointers, Plan]:
        """Make a version live, then keep its model card. Raises as `Versions.promote` does."""
        require_card(card)
        done = await self.versions.promote(name, expected_live)
        await keep_card(self.store, name, card)
        return done

    async def delete(self, name: str, *, unload: bool = False) -> int:
        """Remove a version for good; return the bytes that it took. Raises as VersionRemoval."""
        size = await asyncio.to_thread(self.store.size_bytes, name)
        await self.versions.removal.remove(name, self.needs, unload=unload)
        _log.info("version %s is deleted", name)
        return size

    def needs(self, name: str) -> str:
        """Reason to keep a version on disk; "" if there is none."""
        for role, pointed in asdict(self.versions.pointers).items():
            if name == pointed:
                return f"it is the {role} version"
        if adapters := self.store.adapters_of(name):
            return f"the adapter {adapters[0]} needs it"
        if name in self.jobs.bases_in_use():
            return "a training starts from it"
        return super().needs(name)

    async def plan_training(
        self, base_version: str, hyperparameters: Hyperparameters
    ) -> tuple[TrainingRoom, Plan]:
        """Room for a training now, and the way in which its result would be loaded.

        Raises NotFound; InvalidInput: it can't be trained.
        """
        room = await asyncio.to_thread(self._training_room, base_version, hyperparameters)
        plan = await self.versions.planner.plan_result(base_version, hyperparameters.lora_rank)
        return room, plan

    def _training_room(self, version: str, hyperparameters: Hyperparameters) -> TrainingRoom:
        base = self.store.path(version)
        self._require_trainable(version)
        settings = self._settings
        room = training_room(base, hyperparameters, settings.training, settings.training_devices)
        try:
            require_disk_space(settings.store, base, hyperparameters)
        except WrongState as error:
            return replace(room, fits=False, reason=str(error))
        return room

    def sample_losses(self, training: str) -> SampleLosses | None:
        """Losses of a training's samples; None if it kept none. Raises NotFound, InvalidInput."""
        return read_losses(self._settings.store / "jobs" / self.jobs.job(training).id)

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
            is_trial=job.is_trial,
            hyperparameters=job.hyperparameters,
            model=self.store.manifest(job.base_version).origin.model,
        )
        return self.store.add(output, origin, job.contract, is_ours=True)
