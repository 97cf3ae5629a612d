"""Presets that fit this machine, and the settings to start them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.memory import GIB
from services.core.presets import PRESETS, Preset
from services.engines.settings import STUDENTS_SHARE, EngineSettings

PARALLEL = (1, 2, 4, 8)
BOTH = ("transformers", "vllm")
LORA_RANK = 16
RESERVE = 2 * GIB
"""Memory of a GPU, or of the machine, that other processes and the system may take."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One preset on this machine."""

    preset: str
    role: str
    settings: tuple[str, ...]
    """Environment variables; empty if the preset does not fit."""
    training: str
    """The largest training that fits: "whole", "whole on N GPUs", "whole by offload", "LoRA" or
    "no"; "" for a teacher."""
    is_converted: bool
    """Whether its first start converts it, by `mpa-orch serve --convert`: training needs that."""

    @property
    def fits(self) -> bool:
        return bool(self.settings)


def offers(gpu_bytes: Sequence[int], machine_bytes: int) -> list[Offer]:
    """Offers for all presets with known memory. `gpu_bytes`: total of each GPU.

    Without a GPU, weights are float32 and must fit into the memory of the machine.
    """
    return [
        _offer(preset, role, gpu_bytes, machine_bytes)
        for preset in PRESETS.values()
        for role in preset.roles
        if preset.serving_bytes
    ]


def _offer(preset: Preset, role: str, gpu_bytes: Sequence[int], machine_bytes: int) -> Offer:
    if gpu_bytes:
        settings = _on_gpus(preset, role, min(gpu_bytes), len(gpu_bytes))
        room = max(gpu_bytes) - RESERVE
        shards = _shards(preset, room, min(gpu_bytes) - RESERVE, len(gpu_bytes))
    else:
        in_float32 = preset.serving_bytes + 2 * preset.parameters
        settings = _named(preset, role, "transformers") if in_float32 <= machine_bytes else ()
        room, shards = machine_bytes, 1
    if role != "student":
        return Offer(preset.name, role, settings, "", is_converted=False)
    training, how = _training(preset, room, machine_bytes if gpu_bytes else 0, shards)
    settings = (*settings, *how) if settings else ()
    return Offer(preset.name, role, settings, training, is_converted=bool(preset.conversion))


def _on_gpus(preset: Preset, role: str, each: int, count: int) -> tuple[str, ...]:
    """Settings for the fewest GPUs of `each` bytes that hold the preset."""
    share = STUDENTS_SHARE if role == "student" else EngineSettings().memory_share
    fitting = (
        devices
        for devices in PARALLEL
        if devices <= count and preset.serving_bytes <= devices * (share * each)
    )
    devices = next(fitting, 0)
    if not devices:
        return ()
    parallel = (f"MPA_{role.upper()}_TENSOR_PARALLEL={devices}",) if devices > 1 else ()
    return (*_named(preset, role, _engines(preset, role)[-1]), *parallel)


def _engines(preset: Preset, role: str) -> tuple[str, ...]:
    """Engines that load the preset: both do after a conversion."""
    return BOTH if role == "student" and preset.conversion else preset.engines


def _named(preset: Preset, role: str, engine: str) -> tuple[str, ...]:
    if engine not in _engines(preset, role):
        return ()
    prefix = f"MPA_{role.upper()}_"
    needs_code = preset.remote_code and not (role == "student" and preset.conversion)
    trust = (f"{prefix}TRUST_REMOTE_CODE=1",) if needs_code else ()
    return (f"{prefix}PRESET={preset.name}", f"{prefix}ENGINE={engine}", *trust)


def _shards(preset: Preset, room: int, each: int, count: int) -> int:
    """The fewest GPUs that train the whole student; 1 if one does, or if all are too few."""
    if preset.training_bytes() <= room:
        return 1
    numbers = (
        devices
        for devices in range(2, count + 1)
        if preset.hyperparameters.batch_size % devices == 0
        and preset.training_bytes(processes=devices) <= each
    )
    return next(numbers, 1)


def _training(preset: Preset, room: int, host: int, shards: int) -> tuple[str, tuple[str, ...]]:
    """The largest training that fits, and its settings. `host`: memory next to that of a GPU."""
    if shards > 1:
        processes = f"MPA_STUDENT_TRAINING_PROCESSES={shards}"
        return f"whole on {shards} GPUs", (processes, "MPA_STUDENT_TRAINING_SHARDED=1")
    if preset.training_bytes() <= room:
        return "whole", ()
    if preset.training_bytes(offloaded=True) <= room and preset.offloaded_bytes <= host - RESERVE:
        return "whole by offload", ("MPA_STUDENT_TRAINING_OFFLOAD=1",)
    return ("LoRA" if preset.training_bytes(LORA_RANK) <= room else "no"), ()
