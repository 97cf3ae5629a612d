"""The model of a preset whose checkpoint must be converted: converted once, in the user's cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from services.core.errors import MpaError
from services.core.presets import Preset, find_preset
from services.engines.choice import BUNDLED
from services.orchestrator.endpoints.cache import cache_folder


def unconverted(role: str, variables: Mapping[str, str] = os.environ) -> Preset | None:
    """The preset of a service that would run in its published form, which can't be trained.

    Raises InvalidInput: no such preset.
    """
    prefix = f"MPA_{role.upper()}_"
    preset = find_preset(
        variables.get(f"{prefix}PRESET") or BUNDLED[role], role, what=f"{prefix}PRESET"
    )
    return None if variables.get(f"{prefix}MODEL") or not preset.conversion else preset


def converted(preset: Preset) -> Path:
    """The folder of the converted checkpoint; the first call makes it.

    Raises NotFound: the hub doesn't provide the checkpoint; MpaError: the disk is full.
    """
    folder = cache_folder() / "converted" / f"{preset.name}-{preset.revision[:12]}"
    if not folder.exists():
        from services.engines.conversion.conversion import convert

        try:
            convert(preset.model, folder)
        except MpaError:
            if not folder.exists():  # else another service was faster
                raise
    return folder
