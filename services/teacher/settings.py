"""The teacher's settings, read from MPA_TEACHER_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.engines.loading import EngineSettings
from services.environment import Environment
from services.rpc.lifecycle import ListenSettings

BUNDLED = Path(__file__).resolve().parents[2] / "zoo" / "teacher"
GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """`model`: a folder or a hub id. `image_root`: the folder below which requests may name images by path."""

    model: str
    image_root: Path | None
    listen: ListenSettings
    engine: EngineSettings

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> TeacherSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_TEACHER_", variables)
        return TeacherSettings(
            model=env.text("MODEL", str(BUNDLED)),
            image_root=env.path("IMAGE_ROOT"),
            listen=ListenSettings.from_environment(env, GRPC_PORT),
            engine=EngineSettings.from_environment(env),
        )
