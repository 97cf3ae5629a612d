"""Presets that fit this machine, and the settings to start them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.memory import GIB
from services.core.presets import PRESETS, Preset
from services.engines.settings import STUDENTS_SHARE, EngineSettings

PARALLEL = (1, 2, 4, 8)
LORA_RANK = 16
RESERVE = 2 * GIB
"""Memory of a GPU that its context, and what other processes show on it, may take."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One preset on this machine."""

    preset: str
    role: str
    settings: tuple[str, ...]
    """Environment variables; empty if the preset does not fit."""
    training: str
    """"whole", "LoRA" or "no": the largest training that one GPU holds; "" for a teacher."""

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
        if preset.serving_bytes and preset.engines
    ]


def _offer(preset: Preset, role: str, gpu_bytes: Sequence[int], machine_bytes: int) -> Offer:
    if gpu_bytes:
        settings = _on_gpus(preset, role, min(gpu_bytes), len(gpu_bytes))
        room = max(gpu_bytes) - RESERVE
    else:
        in_float32 = preset.serving_bytes + 2 * preset.parameters
        settings = _named(preset, role, "transformers") if in_float32 <= machine_bytes else ()
        room = machine_bytes
    training = _training(preset, room) if role == "student" else ""
    return Offer(preset.name, role, settings, training)


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
    return (*_named(preset, role, preset.engines[-1]), *parallel)


def _named(preset: Preset, role: str, engine: str) -> tuple[str, ...]:
    if engine not in preset.engines:
        return ()
    prefix = f"MPA_{role.upper()}_"
    trust = (f"{prefix}TRUST_REMOTE_CODE=1",) if preset.remote_code else ()
    return (f"{prefix}PRESET={preset.name}", f"{prefix}ENGINE={engine}", *trust)


def _training(preset: Preset, room: int) -> str:
    if preset.training_bytes() <= room:
        return "whole"
    return "LoRA" if preset.training_bytes(LORA_RANK) <= room else "no"
