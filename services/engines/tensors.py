"""Check that a checkpoint has exactly the tensors of its configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText

from services.core.errors import InvalidInput


def require_whole(folder: Path, loading_info: Mapping[str, Collection[Any]]) -> None:
    """Raises InvalidInput if tensors are missing, misshapen or foreign; transformers only warns."""
    found = {
        "tensors are missing": loading_info["missing_keys"],
        "tensors have another shape": loading_info["mismatched_keys"],
        "tensors belong to another architecture": loading_info["unexpected_keys"],
    }
    faults = [
        f"{len(keys)} {fault} ({min(map(str, keys))} ...)" for fault, keys in found.items() if keys
    ]
    if faults:
        raise InvalidInput(
            f"the checkpoint in {folder} does not fit its config.json: {'; '.join(faults)}",
            field="model",
        )


def check_tensors(folder: Path) -> None:
    """Does the same without reading the weights, for engines that would serve with tensors missing.

    An architecture that transformers does not know (remote code) is left to the engine.
    Raises InvalidInput.
    """
    if type(AutoConfig.from_pretrained(folder)) not in AutoModelForImageTextToText._model_mapping:
        return
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, device_map="meta", use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        raise InvalidInput(
            f"the checkpoint in {folder} can't be loaded: {error}", field="model"
        ) from error
    require_whole(folder, loaded[1])


def require_same_architecture(loaded: Path, folder: Path) -> None:
    """Raises InvalidInput unless the weights in `folder` can replace those in `loaded`."""
    ours = _essential(AutoConfig.from_pretrained(loaded).to_diff_dict())
    theirs = _essential(AutoConfig.from_pretrained(folder).to_diff_dict())
    differing = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    if differing:
        raise InvalidInput(
            f"the checkpoint in {folder} is of another architecture than the one loaded: "
            f"{', '.join(differing)} differ",
            field="model",
        )


_INCIDENTAL = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}


def _essential(config: dict[str, Any]) -> dict[str, Any]:
    """Drops incidental keys, also in the nested configurations of tower and language model."""
    return {
        key: _essential(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _INCIDENTAL
    }
