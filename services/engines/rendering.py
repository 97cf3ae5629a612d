"""A prompt as a checkpoint's processor renders it: token ids and pixel grid.

Training and serving must share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.engines.model import Prompt

_GRID_VALUES = 64


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered prompt, in short."""

    token_ids: str
    """Hex SHA-256 over the prompt's ids, image tokens expanded."""
    tokens: int
    grid: str
    """JSON of image tensors by name: values of small ones (image_grid_thw), else their shape."""


Render = Callable[[Prompt], Rendering]


def renderer(folder: Path, trust_remote_code: bool = False) -> Render:
    """Function that renders prompts for a checkpoint. Raises InvalidInput: unreadable processor."""
    if (folder / "fake.json").is_file():
        return _render_words
    from services.engines.chat import Chat
    from services.engines.inputs import OF_TEXT, build_inputs

    chat = Chat.of(folder, trust_remote_code)

    def render(prompt: Prompt) -> Rendering:
        if not chat.has_parts:  # the engine alone knows how the image is processed
            ids = chat.tokenize(prompt.text, prompt.system).ids
            return Rendering(_sha256(ids), len(ids), "")
        inputs = build_inputs(
            chat.processor, [chat.tokenize(prompt.text, prompt.system)], [prompt.image.pixels]
        )
        ids = inputs["input_ids"][0].tolist()
        grid = {
            name: _grid(tensor) for name, tensor in sorted(inputs.items()) if name not in OF_TEXT
        }
        return Rendering(_sha256(ids), len(ids), json.dumps(grid))

    return render


def _grid(tensor: Any) -> Any:
    is_small = tensor.numel() <= _GRID_VALUES and not tensor.is_floating_point()
    return tensor.tolist() if is_small else list(tensor.shape)


def _render_words(prompt: Prompt) -> Rendering:
    """Renders for the fake engine: a word is a token."""
    return Rendering(
        _sha256(prompt.text), len(prompt.text.split()), json.dumps(prompt.image.pixels.size)
    )


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
