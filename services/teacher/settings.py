"""The teacher's settings, read from MPA_TEACHER_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.presets import Preset, find_preset
from services.engines.openai.settings import OpenAISettings
from services.engines.settings import EngineSettings
from services.environment import Environment
from services.rpc.lifecycle import ListenSettings

BUNDLED = Path(__file__).resolve().parents[2] / "zoo" / "teacher"
GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """`model`: a folder or a hub id, the preset's unless it is named; with `openai`, the provider's name of it.

    `image_root`: the folder below which requests may name images by path.
    """

    model: str
    preset: Preset
    image_root: Path | None
    listen: ListenSettings
    engine: EngineSettings
    openai: OpenAISettings | None = None

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> TeacherSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_TEACHER_", variables)
        preset = find_preset(env.text("PRESET", "bundled-teacher"), "teacher", what="MPA_TEACHER_PRESET")
        engine, model = EngineSettings.from_environment(env), env.text("MODEL")
        if not model:
            preset.require_loadable(engine.engine, trust_remote_code=engine.trust_remote_code, prefix=env.prefix)
        return TeacherSettings(
            model=model or preset.model or str(BUNDLED),
            preset=preset,
            image_root=env.path("IMAGE_ROOT"),
            listen=ListenSettings.from_environment(env, GRPC_PORT),
            engine=engine,
            openai=OpenAISettings.from_environment(env) if engine.engine == "openai" else None,
        )
