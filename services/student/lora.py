"""Low-rank adapters (LoRA, through peft) of the student, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from services.core.presets import Hyperparameters


def add_adapter(model: Any, settings: Hyperparameters) -> PeftModel:
    """Freeze the model and give every linear layer an adapter.

    The rank is `lora_rank`, the scale lora_alpha / lora_rank. Linear layers of the language model,
    the connector and the vision tower have one; the output layer, embeddings and convolutions have
    none. Adapters are in fp32 and change nothing until they are trained.
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
    """Write adapter_config.json and adapter_model.safetensors.

    The configuration names the base by the SHA-256 of its weights.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_sha256
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
