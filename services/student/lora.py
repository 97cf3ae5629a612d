"""Low-rank adapters of the student: which layers have one, and how a trained one is written (LoRA, through peft)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from services.core.presets import Hyperparameters


def add_adapter(model: Any, settings: Hyperparameters) -> PeftModel:
    """Freezes the model and gives every linear layer an adapter of `lora_rank`, scaled by lora_alpha / lora_rank.

    That is all linear layers of the language model, the connector and the vision tower; the output layer, the embeddings and
    convolutions stay as they are. The adapters are in fp32 and change nothing until they are trained.
    """
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # a float will do
        target_modules="all-linear",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def save_adapter(model: PeftModel, base_sha256: str, folder: Path) -> None:
    """Writes adapter_config.json, which names the base by the SHA-256 of its weights, and adapter_model.safetensors."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_sha256
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def merge(model: PeftModel) -> Any:
    """The whole model, adapters added to its weights; the adapter is gone from it then."""
    return model.merge_and_unload(safe_merge=True)
