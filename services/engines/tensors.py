"""Does a checkpoint hold the tensors that its configuration asks for, no more and no fewer?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText

from services.core.errors import InvalidInput


def require_whole(folder: Path, loading_info: Mapping[str, Collection[Any]]) -> None:
    """Raises InvalidInput: transformers only warns of tensors that are missing, misshapen or foreign."""
    faults = [
        f"{len(keys)} {what} ({min(map(str, keys))} ...)"
        for what, keys in (
            ("tensors are missing", loading_info["missing_keys"]),
            ("tensors have another shape", loading_info["mismatched_keys"]),
            ("tensors belong to another architecture", loading_info["unexpected_keys"]),
        )
        if keys
    ]
    if faults:
        raise InvalidInput(
            f"the checkpoint in {folder} does not fit its config.json: {'; '.join(faults)}",
            field="model",
        )


def check_tensors(folder: Path) -> None:
    """The same without reading the weights, for engines that would serve a checkpoint with holes in it.

    An architecture that transformers does not know (remote code) is left to the engine. Raises InvalidInput.
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
    """Can the weights in `folder` take the place of those in `loaded`? Raises InvalidInput."""
    ours, theirs = (
        _telling(AutoConfig.from_pretrained(each).to_diff_dict()) for each in (loaded, folder)
    )
    differing = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    if differing:
        raise InvalidInput(
            f"the checkpoint in {folder} is of another architecture than the one loaded: {', '.join(differing)} differ",
            field="model",
        )


_INCIDENTAL = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}


def _telling(config: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing about the architecture, in the configurations of tower and language model neither."""
    return {
        key: _telling(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _INCIDENTAL
    }
