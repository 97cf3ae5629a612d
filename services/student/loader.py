"""Loading of stored versions, and the check that they answer as trained."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import InvalidInput, MpaError, WrongState
from services.engines import adapters
from services.engines.copies import each_copy
from services.engines.loading import load_model
from services.engines.model import Adaptable, Reloadable, VisionLanguageModel
from services.engines.room import PATIENCE_S, Room, require_room, room_for
from services.engines.settings import EngineSettings
from services.student import canaries, programs, reference
from services.student.canary_check import CanaryCheck, Checked
from services.student.canary_verdict import Strictness
from services.student.manifest import ADAPTER
from services.student.store import VersionStore

_log = logging.getLogger(__name__)


class StoredVersions:
    """Loader of a store's versions. It computes missing canaries on `devices`.

    `strictness` of their check; None: strict after a reload in place, where wrong weights are
    likely, and lenient on a new engine, whose files have just been verified.
    """

    def __init__(
        self,
        store: VersionStore,
        settings: EngineSettings,
        devices: str = "",
        strictness: Strictness | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._devices = devices
        self._strictness = strictness
        self._keeps_old_weights = False
        self._usual_size = 1.0
        self._has_loaded = False
        self._own_canaries: tempfile.TemporaryDirectory[str] | None = None

    def contract(self, name: str) -> Contract:
        return self._store.manifest(name).contract

    def room(self, name: str) -> Room:
        return room_for(self._store.path(name), self._settings)

    def takes_adapter(self, name: str) -> bool:
        return self.takes_rank(adapters.rank(self._store.path(name) / ADAPTER))

    def takes_rank(self, rank: int) -> bool:
        return rank <= self._settings.max_lora_rank

    async def inspect(self, name: str) -> None:
        """Raises InvalidInput: a file differs from the manifest, a tensor is missing or unknown."""
        folder = await asyncio.to_thread(self._store.verify, name)
        if self._settings.engine != "fake":
            await asyncio.to_thread(_check_tensors, folder)

    async def load(self, name: str) -> tuple[VisionLanguageModel, Checked]:
        patience_s = PATIENCE_S if self._has_loaded else 0.0
        await require_room(self._store.path(name), self._settings, patience_s)
        folder = await self._with_canaries(name)
        self._has_loaded = True
        return await self._checked(await load_model(folder, self._settings), name)

    async def adapt(self, base: Adaptable, name: str) -> tuple[VisionLanguageModel, Checked]:
        folder = await self._with_canaries(name)
        return await self._checked(await base.with_adapter(folder / ADAPTER), name)

    async def reload(self, model: VisionLanguageModel, name: str) -> Checked:
        """Raises WrongState: the engine can't replace weights, or once kept old ones.

        Also if canaries are missing that only this engine could compute: wrong weights would be
        compared with themselves.
        """
        if not isinstance(model, Reloadable) or self._keeps_old_weights:
            raise WrongState(
                f"the {self._settings.engine} engine can't replace its weights in place"
            )
        folder = await self._with_canaries(name)
        place = await asyncio.to_thread(self._place, name)
        if not await asyncio.to_thread(canaries.read, place):
            raise WrongState(
                f"version {name} has no canaries, and only an engine that loads it from the start "
                "may compute them"
            )
        await model.reload(folder)
        try:
            return await self._check(model, name, Strictness.STRICT)
        except InvalidInput as error:
            self._keeps_old_weights = error.reason == "CANARY_FAILED"
            raise

    async def _checked(
        self, model: VisionLanguageModel, name: str
    ) -> tuple[VisionLanguageModel, Checked]:
        try:
            checked = await self._check(model, name, Strictness.LENIENT)
            self._usual_size = checked.size
            return model, checked
        except BaseException:
            try:
                await model.close()
            except Exception:
                _log.exception("the engine of refused version %s was not closed cleanly", name)
            raise

    async def _check(
        self, model: VisionLanguageModel, name: str, strictness: Strictness
    ) -> Checked:
        """Raises InvalidInput: wrong answers, or the files were changed while they were loaded.

        Computes missing canaries of a version that only this engine can load. A trial has none.
        """
        folder = self._store.path(name)
        await asyncio.to_thread(self._store.require_unchanged, name)
        if (await asyncio.to_thread(self._store.manifest, name)).origin.is_trial:
            return Checked(total=0, passed=0)
        contract = await asyncio.to_thread(self.contract, name)
        place = await asyncio.to_thread(self._place, name)
        if not await asyncio.to_thread(canaries.read, place):
            text = "the canaries of %s are computed by its own engine: transformers can't build it"
            _log.warning(text, name)
            await reference.compute_by(
                model,
                folder,
                contract,
                trust_remote_code=self._settings.trust_remote_code,
                place=place,
            )
        in_float32 = self._settings.dtype == "float32" or (
            self._settings.dtype == "auto"
            and (await asyncio.to_thread(self.room, name)).device == "CPU"
        )
        is_reference = self._settings.engine == reference.reference_settings(folder).engine
        way = self._strictness or strictness
        check = CanaryCheck(
            way,
            in_float32,
            by_reference=is_reference and self._settings.dtype != "float16",
            usual_size=self._usual_size if way is Strictness.STRICT else 1.0,
            trust_remote_code=self._settings.trust_remote_code,
        )
        checks = [check(copy, folder, contract, place) for copy in each_copy(model)]
        return min(await asyncio.gather(*checks), key=lambda checked: checked.passed)

    async def _with_canaries(self, name: str) -> Path:
        """Verify a version's files, and return its folder.

        The canaries of the first version, which no training made, are computed here, unless only
        its own engine can do so.
        """
        folder = await asyncio.to_thread(self._store.verify, name)
        manifest = await asyncio.to_thread(self._store.manifest, name)
        place = await asyncio.to_thread(self._place, name)
        waits = manifest.origin.canaries_by or manifest.origin.is_trial
        if not waits and not await asyncio.to_thread(canaries.read, place):
            await self._compute_canaries(folder, manifest.contract, place)
        return folder

    def _place(self, name: str) -> Path:
        """Folder of a version's canaries: its own, unless it has none and can't be written."""
        folder = self._store.path(name)
        if canaries.are_stored(folder) or os.access(folder, os.W_OK):
            return folder
        if self._own_canaries is None:
            self._own_canaries = tempfile.TemporaryDirectory(prefix="canaries-")
        place = Path(self._own_canaries.name, name)
        if not place.is_dir():
            place.mkdir()
            text = (
                "version %s has no canaries, and none can be stored in %s: this service computes "
                "its own, and keeps them until it ends. Load the version once on a service that "
                "may write there"
            )
            _log.warning(text, name, folder)
        return place

    async def _compute_canaries(self, folder: Path, contract: Contract, place: Path) -> None:
        """Compute canaries in a process of its own, unless the engine is the reference engine."""
        if self._settings.engine == reference.reference_settings(folder).engine:
            questions = await asyncio.to_thread(canaries.synthetic_questions)
            way = reference.ReferenceWay(self._settings.device)
            await reference.compute(folder, contract, questions, way=way, place=place)
            return
        with tempfile.TemporaryFile() as output:
            terms = json.dumps(asdict(contract))
            arguments = [str(folder.resolve()), terms, str(place.resolve())]
            code = await programs.run(
                "services.student.reference", arguments, self._devices, output
            )
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if code != 0:
            lines = said.splitlines() or ["it printed nothing"]
            raise MpaError(
                f"the canaries of {folder.name} can't be computed: {lines[-1]}",
                reason="CANARIES_NOT_COMPUTED",
            )
        if said:
            _log.info("the canaries of %s: %s", folder.name, said)


def _check_tensors(folder: Path) -> None:
    from services.engines.tensors import check_tensors

    check_tensors(folder)
