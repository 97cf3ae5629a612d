"""The student's settings, read from MPA_STUDENT_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.presets import PRESETS, Preset
from services.engines.loading import EngineSettings
from services.environment import Environment
from services.rpc.lifecycle import ListenSettings

BUNDLED = Path(__file__).resolve().parents[2] / "zoo" / "student"
GRPC_PORT = 50052


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """`model`: a folder or a hub id, imported as the first version of an empty `store`.

    `max_loaded`: versions in memory at once. `training_devices`: CUDA_VISIBLE_DEVICES of the training process ("" inherits).
    """

    model: str
    store: Path
    preset: Preset
    image_root: Path | None
    max_loaded: int
    training_devices: str
    listen: ListenSettings
    engine: EngineSettings

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> StudentSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_STUDENT_", variables)
        preset = env.text("PRESET", "bundled")
        if preset not in PRESETS:
            raise InvalidInput(f"MPA_STUDENT_PRESET is {preset!r}: use one of {', '.join(PRESETS)}", field="preset")
        return StudentSettings(
            model=env.text("MODEL", str(BUNDLED)),
            store=env.path("STORE") or Path(".mpa/student"),
            preset=PRESETS[preset],
            image_root=env.path("IMAGE_ROOT"),
            max_loaded=env.integer("MAX_LOADED", 3),
            training_devices=env.text("TRAINING_DEVICES"),
            listen=ListenSettings.from_environment(env, GRPC_PORT),
            engine=EngineSettings.from_environment(env),
        )
