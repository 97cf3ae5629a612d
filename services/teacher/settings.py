"""The teacher's settings, read from MPA_TEACHER_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.engines.loading import EngineSettings
from services.rpc.lifecycle import ListenSettings

BUNDLED = Path(__file__).resolve().parents[2] / "zoo" / "teacher"


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """`model`: a folder or a hub id. `image_root`: the folder below which requests may name images by path."""

    model: str
    image_root: Path | None
    listen: ListenSettings
    engine: EngineSettings

    @staticmethod
    def from_env(env: Mapping[str, str] = os.environ) -> TeacherSettings:
        root = env.get("MPA_TEACHER_IMAGE_ROOT")
        return TeacherSettings(
            model=env.get("MPA_TEACHER_MODEL", str(BUNDLED)),
            image_root=Path(root) if root else None,
            listen=ListenSettings(
                host=env.get("MPA_TEACHER_HOST", "127.0.0.1"),
                port=int(env.get("MPA_TEACHER_GRPC_PORT", "50051")),
                lame_duck_s=float(env.get("MPA_TEACHER_LAME_DUCK_S", "1")),
            ),
            engine=EngineSettings(
                engine=env.get("MPA_TEACHER_ENGINE", "transformers"),
                device=env.get("MPA_TEACHER_DEVICE", ""),
                dtype=env.get("MPA_TEACHER_DTYPE", "auto"),
                threads=int(env.get("MPA_TEACHER_THREADS", "0")),
                max_batch=int(env.get("MPA_TEACHER_MAX_BATCH", "64")),
            ),
        )
