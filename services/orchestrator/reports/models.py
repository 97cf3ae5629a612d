"""Models known by name, for people and for tools, with the commands that serve them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console

from services.core.memory import GIB
from services.core.presets import PRESETS, Preset
from services.orchestrator.reports.listing import print_rows, say

COLUMNS = (
    "name",
    "role",
    "size",
    "model",
    "engines",
    "serve",
    "train",
    "LoRA",
    "licence",
    "remote code",
)
LORA_RANK = 16
"""Rank of the adapters in the estimates of training memory."""


def listed(role: str = "") -> list[Preset]:
    """Models that can take `role`; all for ""."""
    return [preset for preset in PRESETS.values() if not role or role in preset.roles]


def row(preset: Preset) -> tuple[str, ...]:
    """Texts of COLUMNS; memory in GiB, "" if it doesn't apply."""
    memory = (preset.serving_bytes, preset.training_bytes(), preset.training_bytes(LORA_RANK))
    return (
        preset.name,
        ", ".join(preset.roles),
        _size(preset.parameters),
        preset.hub_id or f"zoo/{preset.folder} of this repository",
        ", ".join(preset.engines) or "after conversion",
        *(f"{amount / GIB:.1f}" if amount else "" for amount in memory),
        preset.licence,
        "yes" if preset.remote_code else "",
    )


def to_json(presets: Iterable[Preset]) -> str:
    return json.dumps([_fields(preset) for preset in presets], indent=2, ensure_ascii=False)


def _fields(preset: Preset) -> dict[str, Any]:
    return {
        **asdict(preset),
        "serving_bytes": preset.serving_bytes,
        "training_bytes": preset.training_bytes(),
        "lora_training_bytes": preset.training_bytes(LORA_RANK),
        "commands": commands(preset),
    }


def commands(preset: Preset) -> list[str]:
    """Commands that serve the model: one for each engine that can, one for its conversion."""
    role = preset.roles[0]
    prefix = f"MPA_{role.upper()}_"
    trust = f" {prefix}TRUST_REMOTE_CODE=1" if preset.remote_code else ""
    start = f"{prefix}PRESET={preset.name} {prefix}"
    served = [f"{start}ENGINE={engine}{trust} mpa-orch serve {role}" for engine in preset.engines]
    if not preset.conversion:
        return served
    convert = f"mpa-orch models convert {preset.name} FOLDER"
    return [*served, f"{convert} && {start}MODEL=FOLDER mpa-orch serve {role}"]


def show_all(presets: Iterable[Preset], console: Console) -> None:
    caption = (
        f"serve, train and LoRA (rank {LORA_RANK}): estimated memory in GiB; "
        "`mpa-orch models NAME` shows one model in full"
    )
    numbers = ("size", "serve", "train", "LoRA")
    print_rows(
        COLUMNS, [row(preset) for preset in presets], console, numbers=numbers, caption=caption
    )


def show(preset: Preset, console: Console) -> None:
    """Print everything about one model."""
    trained = asdict(preset.hyperparameters) if "student" in preset.roles else {}
    lines = {
        "name": preset.name,
        "role": ", ".join(preset.roles),
        "model": preset.hub_id or f"zoo/{preset.folder} of this repository",
        "revision": preset.revision,
        "architecture": preset.architecture,
        "parameters": f"{preset.parameters:,}" if preset.parameters else "not published",
        "licence": preset.licence,
        "engines": ", ".join(preset.engines) or "none, as published",
        "conversion": f"{preset.conversion}, for training" if preset.conversion else "",
        "remote code": "needed; off unless TRUST_REMOTE_CODE is set"
        if preset.remote_code
        else "none",
        "template": preset.chat_template,
        "system": preset.system_prompt or "the template's own",
        "images": _listed(preset.image_processor) or "as the checkpoint states",
        "tokens": f"at most {preset.visual_tokens:,} per image" if preset.visual_tokens else "",
        "training": f"{_listed(trained)} ({preset.hyperparameters_source})" if trained else "",
        "memory": _memory(preset),
        "note": preset.note,
    }
    for name, text in lines.items():
        if text:
            say(console, f"{name:<13}{text}")
    for command in commands(preset):
        say(console, f"{'start':<13}{command}")


def _memory(preset: Preset) -> str:
    if not preset.serving_bytes:
        return ""
    parts = [f"{preset.serving_bytes / GIB:.1f} GiB to serve"]
    if preset.training_bytes():
        parts.append(f"{preset.training_bytes() / GIB:.1f} GiB to train")
        lora_gib = preset.training_bytes(LORA_RANK) / GIB
        parts.append(f"{lora_gib:.1f} GiB to train adapters of rank {LORA_RANK}")
    return ", ".join(parts) + " (estimated)"


def _size(parameters: int) -> str:
    if not parameters:
        return ""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _listed(settings: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
