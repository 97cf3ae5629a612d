"""Manifest of a version: its origin, its contract, and the hashes of its files.

STORE/versions/<name>/manifest.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.presets import Hyperparameters
from services.engines import checkpoint
from services.student.intact import CORRUPT
from services.student.records import damaged, read_record

MANIFEST = "manifest.json"
ADAPTER = "adapter"
CONTRACT_BROKEN = "CONTRACT_BROKEN"
"""Reason for a version that would be asked differently than it was trained."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a version. The first version has no parent."""

    parent: str = ""
    run: str = ""
    recipe: str = ""
    dataset: str = ""
    job: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    hyperparameters: Hyperparameters | None = None
    """Settings of the training; None for a first version, and in those of earlier releases."""
    canaries_by: str = ""
    """Engine that computes the canaries at its first load; "" is the reference engine.

    It is named for a checkpoint that transformers can't build.
    """
    is_trial: bool = False
    """Whether it is only to be measured: it has no canaries, and never goes live."""
    model: str = ""
    """Published model that its first ancestor was, as ORGANISATION/NAME@REVISION.

    "" if that was a folder, and in versions of earlier releases.
    """


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of manifest.json, written once with the weights and never changed."""

    name: str
    created_at: str
    weights_sha256: str
    contract: Contract
    origin: Origin
    adapter_of: str = ""
    """Base version of the adapter in adapter/; "" if there is none.

    The weights next to adapter/ are the merged ones.
    """

    rest_sha256: str = ""
    """Hash of configuration, code and adapter; "" in versions of earlier releases."""

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Raises InvalidInput: the file is damaged."""
        way_out = f"restore it, or move {folder} away; other versions are not affected"
        manifest = read_record(Manifest, folder / MANIFEST, way_out, CORRUPT)
        try:
            datetime.fromisoformat(manifest.created_at)
        except ValueError as error:
            raise damaged(folder / MANIFEST, f"created_at: {error}", way_out, CORRUPT) from error
        return manifest

    def verify(self, folder: Path) -> None:
        """Check all files. Raises InvalidInput: one has changed, or the contract can't be kept."""
        checkpoint.check(folder)
        try:
            found = self._found(folder)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"version {self.name} is damaged: a file in {folder} can't be read ({error}); "
                "it will not be loaded",
                reason=CORRUPT,
            ) from error
        for part, actual, expected, reason in found:
            if actual != expected:
                raise InvalidInput(
                    f"version {self.name} is damaged: its {part} has sha256 {actual[:12]}..., "
                    f"its manifest states {expected[:12]}...; it will not be loaded",
                    reason=reason,
                )
        try:
            self.contract.require_servable()
        except InvalidInput as error:
            raise InvalidInput(
                f"the contract of version {self.name} can't be kept here ({error}): "
                "serve it with the release that trained it",
                field=error.field,
                reason=CONTRACT_BROKEN,
            ) from error

    def _found(self, folder: Path) -> list[tuple[str, str, str, str]]:
        """Each part, its hash, the expected hash, and the error's reason if they differ."""
        template = self.contract.chat_template_sha256
        processor = self.contract.processor_sha256
        rest = checkpoint.rest_sha256(folder) if self.rest_sha256 else ""
        return [
            ("weights", checkpoint.weights_sha256(folder), self.weights_sha256, CORRUPT),
            ("chat template", checkpoint.chat_template_sha256(folder), template, CONTRACT_BROKEN),
            ("processor", checkpoint.processor_sha256(folder), processor, CONTRACT_BROKEN),
            ("configuration", rest, self.rest_sha256, CORRUPT),
        ]
