"""Conversation formats of published models, as chat templates."""

from __future__ import annotations

import json
from dataclasses import dataclass

from services.core.errors import InvalidInput

_INTERNVL = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，"
    "英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
"""The system message that InternVL2 was trained with."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Marks around the turns of a conversation."""

    system: str
    user: str
    assistant: str
    end: str
    """Token behind each turn, the end of the model's own."""
    system_message: str = ""
    """System turn of a conversation that has none; "" writes none."""

    def template(self, image: str) -> str:
        """Chat template in Jinja. `image` is written for an image, and then a new line."""
        marks = {"system": self.system, "user": self.user, "assistant": self.assistant}
        default = (
            "{%- if not messages or messages[0].role != 'system' -%}"
            + _text(self.system + self.system_message + self.end)
            + "{%- endif -%}"
        )
        part = (
            "{%- if part.type == 'image' -%}"
            + _text(image + "\n")
            + "{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}"
        )
        return (
            (default if self.system_message else "")
            + "{%- for message in messages -%}"
            + "{{ "
            + json.dumps(marks)
            + "[message.role] }}"
            + "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
            + "{%- for part in message.content -%}"
            + part
            + "{%- endfor -%}{%- endif -%}"
            + _text(self.end)
            + "{%- endfor -%}{%- if add_generation_prompt -%}"
            + _text(self.assistant)
            + "{%- endif -%}"
        )


def _text(text: str) -> str:
    """Jinja that writes `text` whatever its blanks."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"


_CHATML = Conversation(
    system="<|im_start|>system\n",
    user="<|im_start|>user\n",
    assistant="<|im_start|>assistant\n",
    end="<|im_end|>",
    system_message=_INTERNVL,
)
CONVERSATIONS = {
    "Hermes-2": _CHATML,
    "internlm2-chat": _CHATML,
    "phi3-chat": Conversation(
        system="<|system|>\n",
        user="<|user|>\n",
        assistant="<|assistant|>\n",
        end="<|end|>",
        system_message=_INTERNVL,
    ),
}
"""Formats by the names that published configurations give them."""


def find_conversation(name: str) -> Conversation:
    """Raises InvalidInput: unknown name."""
    if name not in CONVERSATIONS:
        raise InvalidInput(
            f"the conversation format {name!r} is not known; known: {', '.join(CONVERSATIONS)}",
            field="source",
            reason="CONVERSATION_UNKNOWN",
        )
    return CONVERSATIONS[name]
