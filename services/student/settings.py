"""The student's settings, read from MPA_STUDENT_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.presets import PRESETS, Preset
from services.engines.loading import EngineSettings
from services.rpc.lifecycle import ListenSettings

BUNDLED = Path(__file__).resolve().parents[2] / "zoo" / "student"


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
    def from_env(env: Mapping[str, str] = os.environ) -> StudentSettings:
        root = env.get("MPA_STUDENT_IMAGE_ROOT")
        preset = env.get("MPA_STUDENT_PRESET", "bundled")
        if preset not in PRESETS:
            raise InvalidInput(f"MPA_STUDENT_PRESET is {preset!r}: use one of {', '.join(PRESETS)}", field="preset")
        return StudentSettings(
            model=env.get("MPA_STUDENT_MODEL", str(BUNDLED)),
            store=Path(env.get("MPA_STUDENT_STORE", ".mpa/student")),
            preset=PRESETS[preset],
            image_root=Path(root) if root else None,
            max_loaded=int(env.get("MPA_STUDENT_MAX_LOADED", "3")),
            training_devices=env.get("MPA_STUDENT_TRAINING_DEVICES", ""),
            listen=ListenSettings(
                host=env.get("MPA_STUDENT_HOST", "127.0.0.1"),
                port=int(env.get("MPA_STUDENT_GRPC_PORT", "50052")),
                lame_duck_s=float(env.get("MPA_STUDENT_LAME_DUCK_S", "1")),
            ),
            engine=EngineSettings(
                engine=env.get("MPA_STUDENT_ENGINE", "transformers"),
                device=env.get("MPA_STUDENT_DEVICE", ""),
                dtype=env.get("MPA_STUDENT_DTYPE", "auto"),
                threads=int(env.get("MPA_STUDENT_THREADS", "0")),
                max_batch=int(env.get("MPA_STUDENT_MAX_BATCH", "64")),
            ),
        )
