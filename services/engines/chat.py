"""How a prompt becomes the text that a model reads: one place for serving and for training, so that they can't drift apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor

from services.core.errors import InvalidInput


def conversation(text: str, system: str = "") -> list[dict[str, Any]]:
    """One user message with the image before the text, as `apply_chat_template` takes it, behind a system turn if given."""
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return [{"role": "system", "content": [{"type": "text", "text": system}]}, turn] if system else [turn]


def plain_conversation(text: str, system: str = "") -> list[dict[str, str]]:
    """The same for templates that take strings only (checkpoints with remote code, such as InternVL2)."""
    turn = {"role": "user", "content": f"<image>\n{text}"}
    return [{"role": "system", "content": system}, turn] if system else [turn]


class Chat:
    """A checkpoint's chat template."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._has_parts = hasattr(processor, "image_processor")

    @staticmethod
    def of(folder: Path, trust_remote_code: bool = False) -> Chat:
        """Raises InvalidInput: no processor that can be read."""
        try:
            return Chat(AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code))
        except Exception as error:
            raise InvalidInput(f"the processor in {folder} can't be loaded: {error}", field="model") from error

    def render(self, text: str, system: str = "") -> str:
        """The prompt up to where the model writes, image placeholder included."""
        messages = conversation(text, system) if self._has_parts else plain_conversation(text, system)
        rendered: str = self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return rendered

    def end_of_turn(self) -> list[int]:
        """The tokens that the template puts behind an answer, up to the special one that ends it ("<|im_end|>", "</s>").

        The tokenizer's end of text, where the template puts nothing special there (LLaVA).
        """
        answer = "An answer."
        content = [{"type": "text", "text": answer}] if self._has_parts else answer
        turn = {"role": "assistant", "content": content}
        messages = [*(conversation("?") if self._has_parts else plain_conversation("?")), turn]
        rendered: str = self._processor.apply_chat_template(messages, tokenize=False)
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        _, found, rest = rendered.rpartition(answer)
        behind = tokenizer(rest, add_special_tokens=False)["input_ids"] if found else []
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        end = next((at for at, token in enumerate(behind) if token in special), None)
        return [tokenizer.eos_token_id] if end is None else list(behind[: end + 1])
