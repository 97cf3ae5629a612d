"""From a version in the store to a model that answers as it should."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import InvalidInput, MpaError, WrongState
from services.engines import adapters
from services.engines.loading import load_model
from services.engines.model import Adaptable, Reloadable, VisionLanguageModel
from services.engines.room import Room, room_for
from services.engines.settings import EngineSettings
from services.student import canaries, programs
from services.student.canaries import Checked
from services.student.store import ADAPTER, VersionStore

_log = logging.getLogger(__name__)


class StoredVersions:
    """Loads versions of a store; `devices` are those of the training process, which computes missing canaries."""

    def __init__(self, store: VersionStore, settings: EngineSettings, devices: str = "") -> None:
        self._store = store
        self._settings = settings
        self._devices = devices
        self._keeps_old_weights = False

    def contract(self, name: str) -> Contract:
        return self._store.manifest(name).contract

    def room(self, name: str) -> Room:
        return room_for(self._store.path(name), self._settings)

    def takes_adapter(self, name: str) -> bool:
        return adapters.rank(self._store.path(name) / ADAPTER) <= self._settings.max_lora_rank

    async def inspect(self, name: str) -> None:
        """Raises InvalidInput: files that are not what the manifest says, tensors that are missing or foreign."""
        folder = await asyncio.to_thread(self._store.verify, name)
        if self._settings.engine != "fake":
            from services.engines.tensors import check_tensors

            await asyncio.to_thread(check_tensors, folder)

    async def load(self, name: str) -> tuple[VisionLanguageModel, Checked]:
        folder = await self._with_canaries(name)
        return await self._checked(await load_model(folder, self._settings), name)

    async def adapt(self, base: Adaptable, name: str) -> tuple[VisionLanguageModel, Checked]:
        folder = await self._with_canaries(name)
        return await self._checked(await base.with_adapter(folder / ADAPTER), name)

    async def reload(self, model: VisionLanguageModel, name: str) -> Checked:
        """Where an engine has once been seen to keep old weights, it isn't tried again."""
        if not isinstance(model, Reloadable) or self._keeps_old_weights:
            raise WrongState(
                f"the {self._settings.engine} engine can't replace its weights in place"
            )
        await model.reload(await self._with_canaries(name))
        try:
            return await self._check(model, name)
        except InvalidInput as error:
            self._keeps_old_weights = error.reason == "CANARY_FAILED"
            raise

    async def _checked(
        self, model: VisionLanguageModel, name: str
    ) -> tuple[VisionLanguageModel, Checked]:
        try:
            return model, await self._check(model, name)
        except BaseException:
            try:
                await model.close()
            except Exception:
                _log.exception(
                    "the engine of version %s, which is not to serve, did not end as it should",
                    name,
                )
            raise

    async def _check(self, model: VisionLanguageModel, name: str) -> Checked:
        """Raises InvalidInput: it answers otherwise than it should, or its files were changed while they were loaded."""
        folder = self._store.path(name)
        await asyncio.to_thread(self._store.require_unchanged, name)
        in_float32 = self._settings.dtype == "float32" or (
            self._settings.dtype == "auto" and self.room(name).device == "CPU"
        )
        return await canaries.check(
            model,
            folder,
            self.contract(name),
            canaries.TOLERANCE if in_float32 else canaries.COARSE_TOLERANCE,
            trust_remote_code=self._settings.trust_remote_code,
        )

    async def _with_canaries(self, name: str) -> Path:
        """A version's folder, its files verified. The first version, which no trainer made, gets its canaries here."""
        folder = await asyncio.to_thread(self._store.verify, name)
        if not canaries.read(folder):
            await self._compute_canaries(folder, self.contract(name))
        return folder

    async def _compute_canaries(self, folder: Path, contract: Contract) -> None:
        """In a process of its own, unless this one holds the reference engine anyway."""
        if self._settings.engine == canaries.reference_settings(folder).engine:
            await canaries.compute(
                folder, contract, canaries.synthetic_questions(), device=self._settings.device
            )
            return
        with tempfile.TemporaryFile() as output:
            arguments = [str(folder.resolve()), json.dumps(asdict(contract))]
            code = await programs.run("services.student.canaries", arguments, self._devices, output)
            output.seek(0)
            said = output.read()
        if code != 0:
            lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise MpaError(
                f"the canaries of {folder.name} can't be computed: {lines[-1]}",
                reason="CANARIES_NOT_COMPUTED",
            )
