"""The teacher's settings, read from MPA_TEACHER_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.presets import Preset
from services.engines.choice import Choice
from services.engines.openai.settings import OpenAISettings
from services.engines.settings import EngineSettings
from services.environment import Environment
from services.rpc.settings import RpcSettings

GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """All settings of one teacher service."""

    model: str
    """Folder or hub id, by default the preset's; with `openai`, the provider's model name."""
    preset: Preset
    engine: EngineSettings
    rpc: RpcSettings
    openai: OpenAISettings | None = None

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> TeacherSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_TEACHER_", variables)
        choice = Choice.from_environment(env, "teacher")
        is_at_provider = choice.engine.engine == "openai"
        return TeacherSettings(
            model=choice.model,
            preset=choice.preset,
            engine=choice.engine,
            rpc=RpcSettings.from_environment(env, GRPC_PORT),
            openai=OpenAISettings.from_environment(env) if is_at_provider else None,
        )
