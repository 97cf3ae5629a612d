"""Check that a checkpoint has exactly the tensors of its configuration.

Nothing here runs a checkpoint's own Python code. If transformers has no class for an architecture,
its tensors are left to the engine that has one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText

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


def has_class(folder: Path) -> bool:
    """Whether transformers has a class for this checkpoint, without code of the checkpoint's."""
    kind = str(_read_config(folder).get("model_type", ""))
    return kind in CONFIG_MAPPING and (
        CONFIG_MAPPING[kind] in AutoModelForImageTextToText._model_mapping
    )


def require_class(folder: Path, instead: str = "") -> None:
    """Raises InvalidInput if transformers has no class for the checkpoint.

    `instead`: what users can do besides converting it.
    """
    if not has_class(folder) and "AutoModelForImageTextToText" not in _own_code(folder):
        other = f"{instead}, or " if instead else ""
        raise InvalidInput(
            f"the checkpoint in {folder} is of {_architecture(folder)}, for which transformers has "
            f"no class: {other}convert it by `mpa-orch models convert {folder} OUT`",
            field="model",
            reason="ARCHITECTURE_UNKNOWN",
        )


def require_trusted(folder: Path, trust_remote_code: bool) -> None:
    """Raises InvalidInput if the checkpoint's own Python code would have to run, but must not."""
    if _own_code(folder) and not has_class(folder) and not trust_remote_code:
        raise InvalidInput(
            f"the checkpoint in {folder} is of {_architecture(folder)} and comes with Python code "
            "of its own, which would run in this service: read it, then set "
            "MPA_*_TRUST_REMOTE_CODE=1 (MPA_TEACHER_... or MPA_STUDENT_...)",
            field="TRUST_REMOTE_CODE",
            reason="REMOTE_CODE",
        )


def check_tensors(folder: Path) -> None:
    """Does the same without reading the weights, for engines that would serve with tensors missing.

    Raises InvalidInput.
    """
    if not has_class(folder):
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
    ours, theirs = _essential(_full_config(loaded)), _essential(_full_config(folder))
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


def _full_config(folder: Path) -> dict[str, Any]:
    """Configuration, with the defaults that transformers knows."""
    if not has_class(folder):
        return _read_config(folder)
    differing: dict[str, Any] = AutoConfig.from_pretrained(folder).to_diff_dict()
    return differing


def _read_config(folder: Path) -> dict[str, Any]:
    """Raises InvalidInput: config.json is missing or damaged."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return dict(config)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{folder}/config.json can't be read: {error}", field="model") from error


def _own_code(folder: Path) -> dict[str, str]:
    """Classes of the checkpoint's own Python code by the name of transformers' class."""
    return dict(_read_config(folder).get("auto_map") or {})


def _architecture(folder: Path) -> str:
    return str((_read_config(folder).get("architectures") or ["an unnamed class"])[0])
