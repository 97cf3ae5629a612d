"""Disk space that a training needs, and the check before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.core.errors import WrongState
from services.core.memory import FLOAT32
from services.core.presets import Hyperparameters
from services.engines import weights
from services.student.trainable import trained_parameters

STATE_BYTES = 12
"""Bytes of a trained parameter in a checkpoint: its weight and AdamW's two moments, in float32."""
CHECKPOINTS = 2
"""The last one is kept until the next one is complete."""


def training_disk_bytes(base: Path, settings: Hyperparameters) -> int:
    """Bytes of a training's checkpoints and result at their peak, on the weights in `base`.

    Raises InvalidInput: a damaged header.
    """
    result = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    if settings.lora_rank:
        checkpoint = STATE_BYTES * weights.adapter_parameters(base, settings.lora_rank)
    else:
        trained = trained_parameters(base, settings)
        frozen = weights.parameters(base) - trained
        checkpoint = STATE_BYTES * trained + FLOAT32 * frozen
    return result + CHECKPOINTS * checkpoint


def require_disk_space(store: Path, base: Path, settings: Hyperparameters) -> None:
    """Raises WrongState: less is free on the disk of `store` than a training from `base` needs."""
    needed = training_disk_bytes(base, settings)
    free = shutil.disk_usage(store).free
    if needed > free:
        raise WrongState(
            f"training needs {needed} bytes ({needed / 2**30:.1f} GiB) of disk for its checkpoints "
            f"and result, and {free} bytes ({free / 2**30:.1f} GiB) are free in {store}: free "
            "space there, move the store to a larger disk (MPA_STUDENT_STORE), or train adapters "
            "(lora_rank)",
            reason="NO_DISK_SPACE",
        )
