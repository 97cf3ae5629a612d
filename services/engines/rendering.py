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
_OF_TEXT = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})


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
    from transformers import AutoProcessor

    from services.engines.chat import Chat

    chat = Chat.of(folder, trust_remote_code)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)

    def render(prompt: Prompt) -> Rendering:
        text = chat.render(prompt.text, prompt.system)
        inputs = processor(text=[text], images=[[prompt.image.pixels]], return_tensors="pt")
        ids = inputs["input_ids"][0].tolist()
        grid = {name: _grid(tensor) for name, tensor in sorted(inputs.items()) if name not in _OF_TEXT}
        return Rendering(_sha256(ids), len(ids), json.dumps(grid))

    return render


def _grid(tensor: Any) -> Any:
    is_small = tensor.numel() <= _GRID_VALUES and not tensor.is_floating_point()
    return tensor.tolist() if is_small else list(tensor.shape)


def _render_words(prompt: Prompt) -> Rendering:
    """The fake engine's: a word is a token."""
    return Rendering(_sha256(prompt.text), len(prompt.text.split()), json.dumps(prompt.image.pixels.size))


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
