"""The checkpoint that a conversion makes, in a class of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput

Tensors = Iterable[tuple[str, Any]]
"""Names and tensors."""
ConvertTensor = Callable[[str, Any], Tensors]
"""Converts one published tensor into none, one or several. Raises InvalidInput: unknown."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A published checkpoint as it is after its conversion."""

    config: Any
    """Configuration, with its architecture and number format."""
    processor: Any
    """Tokenizer, image processor and chat template."""
    generation: Any
    """Generation configuration: the end of a turn."""
    tensors: ConvertTensor
    further: tuple[Path, ...] = ()
    """Further checkpoints whose tensors belong to the model, such as a tower's own."""


def read_json(path: Path) -> dict[str, Any]:
    """Raises InvalidInput: the file is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} can't be read ({error}): download the checkpoint again", field="source"
        ) from error


def unknown_tensor(name: str, architecture: str) -> InvalidInput:
    """The error for a tensor that a converter doesn't know."""
    return InvalidInput(
        f"tensor {name!r} belongs to no known {architecture}: the checkpoint can't be converted",
        field="source",
        reason="CHECKPOINT_UNKNOWN",
    )
