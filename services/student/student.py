"""The student as a plain object, independent of gRPC and HTTP: answers, versions, trainings."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.errors import WrongState
from services.core.tasks import answer_prompt
from services.engines.checkpoint import resolve
from services.engines.images import LoadedImage
from services.engines.model import Prompt, Reply
from services.student.datasets import DatasetStore
from services.student.job import Job, TrainingRequest
from services.student.jobs import TrainingJobs
from services.student.loader import StoredVersions
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.production import ProductionSamples
from services.student.progress import TrainingProgress
from services.student.settings import StudentSettings
from services.student.store import VersionStore
from services.student.upload_room import UploadRoom
from services.student.versions import Versions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the version that gave it."""

    version: str
    reply: Reply


class HostedStudent:
    """Owner of one store. Nothing is loaded before `start`."""

    def __init__(self, settings: StudentSettings) -> None:
        self._settings = settings
        self.preset = settings.preset
        self.store = VersionStore(settings.store)
        self.samples = ProductionSamples(settings.samples)
        self.datasets = DatasetStore(settings.store, takes_tiff=settings.rpc.images.takes_tiff)
        self.versions = Versions(
            self.store,
            StoredVersions(self.store, settings.engine, settings.training_devices),
            max_loaded=settings.max_loaded,
            max_adapters=settings.engine.max_loras,
            way=settings.swap_way,
        )
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

    async def close(self) -> None:
        await self.jobs.close()
        await self.versions.close()
        await asyncio.to_thread(self.samples.close)
        self.store.close()

    async def answer(
        self,
        image: LoadedImage,
        question: str,
        *,
        template: str = "",
        decoding: Decoding | None = None,
        version: str = "",
    ) -> Answered:
        """Answer with `version`, or the live one; template and decoding default to its contract."""
        async with self.versions.lease(version) as lease:
            contract = lease.contract
            text = answer_prompt(question, template or contract.answer_template)
            prompt = Prompt(
                image, text, decoding or contract.decoding, system=contract.system_prompt
            )
            return Answered(lease.version, await lease.model.generate(prompt))

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
        return self.store.add(output, origin, job.contract)
