"""Low-rank adapters on disk, in peft's format: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from services.core.errors import InvalidInput
from services.engines import checkpoint

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def sha256(folder: Path) -> str:
    """Hex SHA-256 over the adapter's configuration and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def fingerprint(base: str, folder: Path) -> str:
    """Of a base model, by its own fingerprint, with the adapter in `folder`."""
    return hashlib.sha256(f"{base} {sha256(folder)}".encode()).hexdigest()


def rank(folder: Path) -> int:
    """Of the adapter in `folder`; 1 where it doesn't say."""
    config = folder / CONFIG
    return int(json.loads(config.read_text())["r"]) if config.is_file() else 1


def require_fits(folder: Path, base: Path, max_rank: int) -> None:
    """Raises InvalidInput: no adapter, one for another base, or one of too high a rank for this engine."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise InvalidInput(
            f"{folder} holds no {CONFIG} and {WEIGHTS}: it is not an adapter", field="model"
        )
    config = json.loads((folder / CONFIG).read_text())
    wanted, found = config.get("base_model_name_or_path", ""), checkpoint.weights_sha256(base)
    if wanted != found:
        raise InvalidInput(
            f"the adapter in {folder} goes with a base of sha256 {wanted[:12]}..., the base loaded has {found[:12]}...",
            field="model",
            reason="ADAPTER_OF_ANOTHER_BASE",
        )
    if config["r"] > max_rank:
        raise InvalidInput(
            f"the adapter in {folder} has rank {config['r']}, this engine takes up to {max_rank}: set MAX_LORA_RANK higher",
            field="model",
            reason="ADAPTER_RANK",
        )
