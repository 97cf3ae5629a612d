"""What a checkpoint's processor makes of a prompt: the token ids and pixel grid that training and serving must share."""

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
    """`token_ids`: hex SHA-256 over the prompt's ids, image tokens expanded; `tokens`: how many they are.

    `grid`: every image tensor by name, the values of small ones (image_grid_thw), the shape of others (pixel_values).
    """

    token_ids: str
    tokens: int
    grid: str


Render = Callable[[Prompt], Rendering]


def renderer(folder: Path, trust_remote_code: bool = False) -> Render:
    """For the checkpoint in `folder`. Raises InvalidInput: a processor that can't be read."""
    if (folder / "fake.json").is_file():
        return _render_words
    from services.engines.chat import Chat
    from services.engines.inputs import OF_TEXT, build_inputs

    chat = Chat.of(folder, trust_remote_code)

    def render(prompt: Prompt) -> Rendering:
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
    """The fake engine's: a word is a token."""
    return Rendering(
        _sha256(prompt.text), len(prompt.text.split()), json.dumps(prompt.image.pixels.size)
    )


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
