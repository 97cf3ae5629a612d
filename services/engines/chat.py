"""From a prompt to a model's token ids, for serving and for training.

No control token comes from the words of callers and teachers (docs/decisions/text-is-text.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoProcessor

from services.core.errors import InvalidInput
from services.engines.control import ControlTokens, unreadable
from services.engines.tensors import require_trusted

HARMLESS = "What is there to be seen in this image?"
"""Placeholder for a prompt's text: all tokens around it come from template and processor."""
_QUESTION, _ANSWER = "?", "An answer."
"""Turns that show how the template writes an answer."""
TAIL = 24
"""Most tokens between image and reply whose probabilities are computed with a given reply's."""
_PLACEHOLDER = "<image>"
"""The image in templates that take strings only."""
_SYSTEMS = 16
"""System prompts to remember; usually there is one, that of the version."""


def conversation(text: str, system: str = "") -> list[dict[str, Any]]:
    """Messages for `apply_chat_template`: a system turn if given, then image and text."""
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return (
        [{"role": "system", "content": [{"type": "text", "text": system}]}, turn]
        if system
        else [turn]
    )


def plain_conversation(text: str, system: str = "") -> list[dict[str, str]]:
    """Messages for templates that take strings only (remote code, such as InternVL2)."""
    turn = {"role": "user", "content": f"{_PLACEHOLDER}\n{text}"}
    return [{"role": "system", "content": system}, turn] if system else [turn]


@dataclass(frozen=True, slots=True)
class Frame:
    """A chat template around HARMLESS, under one system prompt."""

    rendered: str
    before: str
    """Characters of the template before a text; `after` has those behind it."""
    after: str
    ids: list[int]
    control: list[int]
    """Control tokens among `ids`."""
    opening: list[int]
    """Tokens that the tokenizer puts before every text ("<s>"); `closing` has those behind it."""
    closing: list[int]
    has_placeholder: bool
    """Whether one token of `ids` marks the image's place."""


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A prompt's token ids, with one placeholder token for an image of any size.

    `rendered`: its characters; "" if a tokenizer would not read them as these ids.
    """

    ids: list[int]
    rendered: str
    frame: Frame


class Chat:
    """A checkpoint's chat template and tokenizer. For one thread at a time, as tokenizers are."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.has_parts = hasattr(processor, "image_processor")
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._control = ControlTokens(self._tokenizer, () if self.has_parts else (_PLACEHOLDER,))
        self._frames: dict[str, Frame] = {}
        self._lead: str | None = None
        self._doubled = "" if self.has_parts else _added_in_front(self._tokenizer)

    @staticmethod
    def of(folder: Path, trust_remote_code: bool = False) -> Chat:
        """Reads the processor in `folder`. Raises InvalidInput: it can't be read or trusted."""
        require_trusted(folder, trust_remote_code)
        try:
            return Chat(AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code))
        except Exception as error:
            raise InvalidInput(
                f"the processor in {folder} can't be loaded: {error}", field="model"
            ) from error

    def render(self, text: str, system: str = "") -> str:
        """Characters of the prompt, with the image's placeholder, up to the model's turn.

        If there is no processor (InternVL2 as published), the template's "<s>" is left out where
        the tokenizer adds it by itself.
        """
        messages = (
            conversation(text, system) if self.has_parts else plain_conversation(text, system)
        )
        rendered: str = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return rendered.removeprefix(self._doubled)

    def tokenize(self, text: str, system: str = "") -> TokenizedPrompt:
        """Token ids of the rendered prompt. Control tokens that `text` spells become characters.

        Raises InvalidInput: the text can't be read as characters.
        """
        (found,) = self.tokenize_all([(text, system)])
        if isinstance(found, InvalidInput):
            raise found
        return found

    def tokenize_all(
        self, turns: Sequence[tuple[str, str]]
    ) -> list[TokenizedPrompt | InvalidInput]:
        """Does `tokenize` for each text and system prompt, faster."""
        frames = [self._frame(system) for _, system in turns]
        rendered = [self.render(text, system) for text, system in turns]
        rows = self._tokenizer(rendered)["input_ids"] if turns else []
        return [
            self._tokenized(text, written, ids, frame)
            for (text, _), written, ids, frame in zip(turns, rendered, rows, frames, strict=True)
        ]

    def _tokenized(
        self, text: str, rendered: str, ids: list[int], frame: Frame
    ) -> TokenizedPrompt | InvalidInput:
        if self._control.among(ids) == frame.control and not self._control.is_marked(text):
            return TokenizedPrompt(ids, rendered, frame)
        try:
            return TokenizedPrompt(self._by_pieces(rendered, frame), "", frame)
        except InvalidInput as error:
            return error

    def tail(self, ids: Sequence[int]) -> int:
        """Number of a prompt's tokens behind its image, at most TAIL; 0 without a placeholder."""
        image: int = getattr(self.processor, "image_token_id", -1)
        return min(TAIL, ids[::-1].index(image)) if image in ids else 0

    def text_ids(self, text: str) -> list[int]:
        """Token ids of an answer to learn, as the template writes it behind the model's mark.

        None is a control token. Raises InvalidInput.
        """
        if self._lead is None:
            self._lead = self._read_lead()
        written = self._lead + text
        # Phi-3 has a blank before a text alone, but none behind the model's mark.
        prompt = self.render(_QUESTION)
        before = self._bare_ids(prompt)
        together = self._bare_ids(prompt + written)
        follows = together[: len(before)] == before
        ids = together[len(before) :] if follows else self._bare_ids(written)
        is_ordinary = not self._control.among(ids) and not self._control.is_marked(text)
        return ids if is_ordinary else self._control.plain_ids(written)

    def end_of_turn(self) -> list[int]:
        """Tokens behind an answer, up to the special one that ends it ("<|im_end|>", "</s>").

        If the template has no special token there (LLaVA), the tokenizer's end of text.
        """
        tokenizer = self._tokenizer
        _, found, rest = self._answered().rpartition(_ANSWER)
        behind = tokenizer(rest, add_special_tokens=False)["input_ids"] if found else []
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        end = next((at for at, token in enumerate(behind) if token in special), None)
        return [tokenizer.eos_token_id] if end is None else list(behind[: end + 1])

    def _read_lead(self) -> str:
        """Blanks before an answer that a prompt leaves to the model: "Assistant:", " Yes"."""
        prompt = self.render(_QUESTION)
        before, _, _ = self._answered().rpartition(_ANSWER)
        lead = before.removeprefix(prompt)
        if not before.startswith(prompt) or lead.strip():
            return ""
        # Sentencepiece puts a blank before each text by itself.
        together = self._bare_ids(prompt + lead + _ANSWER)
        return lead if together == self._bare_ids(prompt) + self._bare_ids(lead + _ANSWER) else ""

    def _answered(self) -> str:
        """Characters of a question and its answer."""
        content = [{"type": "text", "text": _ANSWER}] if self.has_parts else _ANSWER
        asked = conversation(_QUESTION) if self.has_parts else plain_conversation(_QUESTION)
        turns = [*asked, {"role": "assistant", "content": content}]
        rendered: str = self.processor.apply_chat_template(turns, tokenize=False)
        return rendered.removeprefix(self._doubled)

    def _by_pieces(self, rendered: str, frame: Frame) -> list[int]:
        """Ids of the template's control tokens around a prompt's text, read as characters."""
        before, after = frame.before, frame.after
        written = rendered[len(before) : len(rendered) - len(after)]
        if rendered != before + written + after:
            raise unreadable()
        head = max((end for _, end in self._control.spans(before)), default=0)
        rest = min((start for start, _ in self._control.spans(after)), default=len(after))
        ids = [
            *frame.opening,
            *self._bare_ids(before[:head]),
            *self._control.plain_ids(before[head:] + written + after[:rest]),
            *self._bare_ids(after[rest:]),
            *frame.closing,
        ]
        if self._control.among(ids) != frame.control:
            raise unreadable()
        return ids

    def _frame(self, system: str) -> Frame:
        if system not in self._frames:
            if len(self._frames) == _SYSTEMS:
                self._frames.clear()
            self._frames[system] = self._read_frame(system)
        return self._frames[system]

    def _read_frame(self, system: str) -> Frame:
        rendered = self.render(HARMLESS, system)
        before, found, after = rendered.rpartition(HARMLESS)
        if not found:
            raise InvalidInput(
                "the model's chat template leaves the question out: it can't be asked",
                field="model",
            )
        ids: list[int] = self._tokenizer(rendered)["input_ids"]
        bare = self._bare_ids(rendered)
        image: int = getattr(self.processor, "image_token_id", -1)
        start = next((at for at in range(len(ids)) if ids[at : at + len(bare)] == bare), len(ids))
        return Frame(
            rendered=rendered,
            before=before,
            after=after,
            ids=ids,
            control=self._control.among(ids),
            opening=ids[:start],
            closing=ids[start + len(bare) :],
            has_placeholder=ids.count(image) == 1,
        )

    def _bare_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _added_in_front(tokenizer: Any) -> str:
    """The token that a tokenizer puts before every text; "" if none."""
    bos = tokenizer.bos_token_id
    adds = bos is not None and tokenizer("")["input_ids"][:1] == [bos]
    return str(tokenizer.bos_token) if adds else ""
