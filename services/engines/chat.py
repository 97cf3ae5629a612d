"""How a prompt becomes chat messages: one place for serving and for training, so that the two can't drift apart."""

from __future__ import annotations

from typing import Any


def user_turn(text: str) -> list[dict[str, Any]]:
    """One user message with the image before the text, as `apply_chat_template` takes it."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
