"""The student as a plain object: answers, versions and trainings, whatever face asks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.errors import WrongState
from services.core.presets import Hyperparameters
from services.core.tasks import answer_prompt
from services.engines.checkpoint import resolve
from services.engines.images import LoadedImage
from services.engines.model import Prompt, Reply
from services.student.datasets import DatasetStore
from services.student.job import Job, TrainingProgress
from services.student.jobs import TrainingJobs, TrainingRequest
from services.student.loader import StoredVersions
from services.student.pointers import Pointers
from services.student.production import ProductionSamples
from services.student.settings import StudentSettings
from services.student.store import Origin, VersionStore
from services.student.uploads import Uploads
from services.student.versions import Versions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the version that gave it."""

    version: str
    reply: Reply


class HostedStudent:
    """Owns one store; nothing is loaded before `start`."""

    def __init__(self, settings: StudentSettings) -> None:
        self._settings = settings
        self.store = VersionStore(settings.store)
        self.samples = ProductionSamples(settings.samples)
        self.datasets = DatasetStore(settings.store, takes_tiff=settings.images.takes_tiff)
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
        self.uploads = Uploads(self.datasets, settings.uploads, self.jobs.datasets_in_use)

    async def start(self) -> None:
        """Imports the base model into an empty store, loads the live version if it serves, takes up an interrupted training."""
        if not self.store.names():
            folder = await asyncio.to_thread(resolve, self._settings.model)
            preset = self._settings.preset
            contract = Contract(system_prompt=preset.system_prompt)
            await asyncio.to_thread(
                self.store.add, folder, Origin(), contract, preset.image_processor
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
        """Chooses the live version of a new store, or of one without pointers. Raises WrongState: no version is whole."""
        whole = self.store.intact()
        if not whole:
            faults = "; ".join(self.store.fault(name) for name in self.store.names())
            raise WrongState(f"no version can be served: {faults}", reason="NO_VERSION")
        if len(self.store.names()) > 1:
            _log.error(
                "it isn't known any more which version was live: it is %s now, the newest that is whole",
                whole[0],
            )
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
        """Answers with `version`, or the live one; template and decoding are its contract's unless given."""
        async with self.versions.lease(version) as lease:
            contract = lease.contract
            text = answer_prompt(question, template or contract.answer_template)
            prompt = Prompt(
                image, text, decoding or contract.decoding, system=contract.system_prompt
            )
            return Answered(lease.version, await lease.model.generate(prompt))

    async def train(
        self,
        request_id: str,
        dataset: str,
        base_version: str,
        run: str,
        recipe: str,
        contract: Contract,
        hyperparameters: Hyperparameters,
    ) -> str:
        """Starts a training. The version that it makes is asked by `contract`. Raises NotFound, InvalidInput, Conflict."""
        await asyncio.to_thread(self.datasets.verify, dataset)
        folder = await asyncio.to_thread(self.store.verify, base_version)
        contract.require_trainable_from(self.store.manifest(base_version).contract)
        return self.jobs.start(
            TrainingRequest(
                request_id, dataset, base_version, folder, run, recipe, contract, hyperparameters
            )
        )

    @property
    def preset(self) -> str:
        return self._settings.preset.name

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The default settings: the preset's."""
        return self._settings.preset.hyperparameters

    def _publish(self, job: Job, output: Path, progress: TrainingProgress) -> str:
        made = self.store.made_by(job.id)
        if made:
            return made
        metrics = {
            "train_loss": progress.loss,
            "train_seconds": progress.seconds,
            "train_steps": float(progress.total_steps),
        }
        origin = Origin(job.base_version, job.run, job.recipe, job.dataset, job.id, metrics)
        return self.store.add(output, origin, job.contract)
