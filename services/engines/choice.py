"""The model that a service runs and its engine, from MPA_*_PRESET, _MODEL, _ENGINE and so on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.core.presets import Preset, find_preset
from services.engines.settings import EngineSettings
from services.environment import Environment

ZOO = Path(__file__).resolve().parents[2] / "zoo"
BUNDLED = {"teacher": "bundled-teacher", "student": "bundled"}
"""Presets of the checkpoints in `zoo/`, by role."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model (a folder or a hub id), its preset and its engine."""

    model: str
    preset: Preset
    engine: EngineSettings

    @staticmethod
    def from_environment(env: Environment, role: str) -> Choice:
        """Raises InvalidInput, naming the variable that is wrong."""
        preset = find_preset(env.text("PRESET", BUNDLED[role]), role, what=f"{env.prefix}PRESET")
        engine = EngineSettings.from_environment(env, role)
        model = env.text("MODEL")
        if not model:
            preset.require_loadable(
                engine.engine, trust_remote_code=engine.trust_remote_code, prefix=env.prefix
            )
        return Choice(model or preset.model or str(ZOO / preset.folder), preset, engine)
