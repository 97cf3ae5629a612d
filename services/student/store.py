"""The student's versions on disk: immutable folders with a manifest, and the pointers that say which is live.

STORE/versions/v1/{manifest.json, config.json, model.safetensors, ...}
STORE/pointers.json        {"live": "v2", "candidate": "", "previous": "v1"}
STORE/datasets/, STORE/jobs/   see datasets.py and jobs.py
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, MpaError, NotFound
from services.engines import checkpoint
from services.files import sync_folder, write_atomically

MANIFEST = "manifest.json"
ADAPTER = "adapter"
CORRUPT, CONTRACT_BROKEN = "VERSION_CORRUPT", "CONTRACT_BROKEN"
"""Why a version is not loaded."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from. The first version has no parent."""

    parent: str = ""
    run: str = ""
    recipe: str = ""
    dataset: str = ""
    job: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Written once, beside the weights; never changed."""

    name: str
    created_at: str
    weights_sha256: str
    contract: Contract
    origin: Origin
    adapter_of: str = ""
    """The version that the adapter in adapter/ goes with; "" where there is none. The weights beside it are merged."""

    @staticmethod
    def parse(text: str) -> Manifest:
        raw = json.loads(text)
        return Manifest(**{**raw, "contract": Contract(**raw["contract"]), "origin": Origin(**raw["origin"])})


@dataclass(frozen=True, slots=True)
class Pointers:
    """Names of versions; "" where there is none."""

    live: str = ""
    candidate: str = ""
    previous: str = ""


class VersionStore:
    """One writer: the student service that owns the folder. Raises Conflict: the folder has an owner already."""

    def __init__(self, root: Path) -> None:
        self._versions = root / "versions"
        self._pointers = root / "pointers.json"
        self._versions.mkdir(parents=True, exist_ok=True)
        self._lock = (root / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another student service uses the store {root}: stop it, or name another store") from error
        for leftover in self._versions.glob(".incoming-*"):
            shutil.rmtree(leftover)

    def close(self) -> None:
        """Lets another service own the folder."""
        self._lock.close()

    def names(self) -> list[str]:
        """Oldest first."""
        found = [path.parent.name for path in self._versions.glob(f"v*/{MANIFEST}")]
        return sorted(found, key=lambda name: int(name[1:]))

    def path(self, name: str) -> Path:
        """Raises NotFound."""
        folder = self._versions / name
        if not re.fullmatch(r"v\d+", name) or not (folder / MANIFEST).is_file():
            raise NotFound(
                f"there is no version {name!r}: there are {', '.join(self.names()) or 'none'}", reason="VERSION_NOT_FOUND"
            )
        return folder

    def manifest(self, name: str) -> Manifest:
        """Raises NotFound."""
        return Manifest.parse((self.path(name) / MANIFEST).read_text())

    def made_by(self, job: str) -> str:
        """The version that a training job made; "" if it made none."""
        return next((name for name in self.names() if self.manifest(name).origin.job == job), "")

    def add(
        self, checkpoint_folder: Path, origin: Origin, contract: Contract, image_processor: Mapping[str, object] | None = None
    ) -> str:
        """Copies a checkpoint in as the next version and returns its name. Whole or not at all.

        `image_processor`: settings (a pixel budget) that replace the checkpoint's. The hashes and the pixel budget of
        `contract` are taken from the checkpoint itself. Raises InvalidInput: no checkpoint.
        """
        checkpoint.check(checkpoint_folder)
        name = f"v{int(self.names()[-1][1:]) + 1 if self.names() else 1}"
        incoming = self._versions / f".incoming-{name}"
        try:
            shutil.copytree(checkpoint_folder, incoming, ignore=shutil.ignore_patterns("*.md", "checkpoint-*", MANIFEST))
        except (OSError, shutil.Error) as error:
            shutil.rmtree(incoming, ignore_errors=True)
            raise MpaError(
                f"version {name} can't be stored ({error}): make room, then repeat", reason="STORAGE_FAILED"
            ) from error
        checkpoint.set_image_processor(incoming, image_processor or {})
        manifest = Manifest(
            name=name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            weights_sha256=checkpoint.weights_sha256(incoming),
            contract=replace(
                contract,
                chat_template_sha256=checkpoint.chat_template_sha256(incoming),
                processor_sha256=checkpoint.processor_sha256(incoming),
                pixel_budget=checkpoint.pixel_budget(incoming),
            ),
            origin=origin,
            adapter_of=origin.parent if (incoming / ADAPTER).is_dir() else "",
        )
        for file in incoming.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        write_atomically(incoming / MANIFEST, json.dumps(asdict(manifest), indent=2))
        incoming.rename(self._versions / name)
        sync_folder(self._versions)
        return name

    def verify(self, name: str) -> Path:
        """The folder of a version whose files are what its manifest says, and whose contract can be kept here.

        Raises NotFound, InvalidInput: damaged (VERSION_CORRUPT), or it would be asked otherwise than it was trained
        (CONTRACT_BROKEN).
        """
        folder, manifest = self.path(name), self.manifest(name)
        checkpoint.check(folder)
        contract = manifest.contract
        found = [
            ("weights", checkpoint.weights_sha256(folder), manifest.weights_sha256, CORRUPT),
            ("chat template", checkpoint.chat_template_sha256(folder), contract.chat_template_sha256, CONTRACT_BROKEN),
            ("processor", checkpoint.processor_sha256(folder), contract.processor_sha256, CONTRACT_BROKEN),
        ]
        for what, actual, expected, reason in found:
            if actual != expected:
                raise InvalidInput(
                    f"version {name} is damaged: its {what} has sha256 {actual[:12]}..., its manifest says {expected[:12]}...; "
                    "it will not be loaded",
                    reason=reason,
                )
        try:
            contract.require_servable()
        except InvalidInput as error:
            raise InvalidInput(
                f"the contract of version {name} can't be kept here ({error}): serve it with the release that trained it",
                field=error.field,
                reason=CONTRACT_BROKEN,
            ) from error
        return folder

    def pointers(self) -> Pointers:
        if not self._pointers.is_file():
            return Pointers()
        return Pointers(**json.loads(self._pointers.read_text()))

    def point(self, pointers: Pointers) -> None:
        """Moves the pointers, durably, all at once."""
        write_atomically(self._pointers, json.dumps(asdict(pointers)))
