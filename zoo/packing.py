"""Several conversations about one image in one row of a batch, invisible to each other.

A row is the opening that its conversations share, the image and the first words of their prompts, then a branch per
conversation: the rest of its prompt and its reply. A branch sees the opening and itself, at the positions it would have alone,
so the loss is that of separate conversations, for a fraction of the work: the opening is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

IGNORED = -100
_PADDING = -1


@dataclass(frozen=True, slots=True)
class Conversation:
    """One user turn about an image (text only; the image comes first) and the reply to learn."""

    prompt: str
    reply: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows. `tokens`, `targets`, `offsets`, `branches`: (rows, length); `pixels`: (patches, patch size)."""

    pixels: torch.Tensor
    grid: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor
    """The token that follows, where it belongs to a reply, otherwise IGNORED."""
    offsets: torch.Tensor
    """The position in the conversation, as if the branch followed the opening directly."""
    branches: torch.Tensor
    """0 in the opening, 1.. in the branches, -1 in the padding."""
    conversations: int


class Packer:
    """Packs images and their conversations with the token ids and pixels of the processor's ordinary path."""

    def __init__(self, processor: Qwen2VLProcessor) -> None:
        self._processor = processor
        self._tokenize = cache(self._tokenize_prompt)
        self._end = [processor.tokenizer.eos_token_id]

    def _tokenize_prompt(self, prompt: str) -> list[int]:
        """The ids of a turn, image tokens included."""
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(messages, add_generation_prompt=True)
        ids: list[int] = self._processor(
            text=[text], images=[Image.new("RGB", (64, 64))]
        ).input_ids[0]
        return ids

    def pack(self, images: list[Image.Image], conversations: list[list[Conversation]]) -> Batch:
        """One row per image."""
        rows = [self._pack_row(about) for about in conversations]
        length = max(len(row[0]) for row in rows)
        fill = (self._processor.tokenizer.pad_token_id, IGNORED, 0, _PADDING)
        tokens, targets, offsets, branches = (
            torch.tensor([row[i] + [fill[i]] * (length - len(row[i])) for row in rows])
            for i in range(len(fill))
        )
        vision = self._processor.image_processor(images, return_tensors="pt")
        count = sum(map(len, conversations))
        return Batch(
            vision.pixel_values, vision.image_grid_thw, tokens, targets, offsets, branches, count
        )

    def decode(self, tokens: torch.Tensor) -> str:
        """The text of one row."""
        return str(self._processor.tokenizer.decode(tokens))

    def _pack_row(
        self, about: list[Conversation]
    ) -> tuple[list[int], list[int], list[int], list[int]]:
        prompts = [self._tokenize(conversation.prompt) for conversation in about]
        without_last = zip(
            *(ids[:-1] for ids in prompts), strict=False
        )  # the last id of a prompt predicts its own reply
        tokens = [
            column[0] for column in takewhile(lambda column: len(set(column)) == 1, without_last)
        ]
        opening = len(tokens)
        targets, offsets, branches = [IGNORED] * opening, list(range(opening)), [0] * opening
        for branch, (ids, conversation) in enumerate(zip(prompts, about, strict=True), start=1):
            prompt = ids[opening:]
            reply = self._processor.tokenizer(conversation.reply).input_ids + self._end
            tokens += prompt + reply
            targets += [IGNORED] * (len(prompt) - 1) + reply + [IGNORED]
            offsets += range(opening, opening + len(prompt) + len(reply))
            branches += [branch] * (len(prompt) + len(reply))
        return tokens, targets, offsets, branches


def _rope_positions(model: Qwen2VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Multimodal rotary positions (3, rows, length), those of each conversation alone."""
    longest = int(batch.offsets.max()) + 1
    alone = batch.tokens[:1, batch.branches[0] == 0]
    alone = torch.nn.functional.pad(alone, (0, longest - alone.shape[1]))
    kinds = (alone == model.config.image_token_id).int()
    positions: torch.Tensor
    positions, _ = model.model.get_rope_index(
        alone, mm_token_type_ids=kinds, image_grid_thw=batch.grid[:1]
    )
    return positions[:, 0][:, batch.offsets]


class View(NamedTuple):
    """What the vision tower makes of the images: (patches, vision width), and what the language model is given of it, (visual
    tokens, width).
    """

    patches: torch.Tensor
    tokens: torch.Tensor


def look(model: Qwen2VLForConditionalGeneration, batch: Batch) -> View:
    seen = model.model.visual(batch.pixels, grid_thw=batch.grid)
    return View(seen.last_hidden_state, seen.pooler_output)


def compute_loss(
    model: Qwen2VLForConditionalGeneration, batch: Batch, view: View | None = None
) -> torch.Tensor:
    """Negative log-likelihood of the replies: summed over their tokens, averaged over conversations. All images have
    the same size. `view` where there is one already."""
    targets = batch.targets[batch.targets != IGNORED]
    logits = _predict(model, batch, view or look(model, batch))
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / batch.conversations


def find_right(
    model: Qwen2VLForConditionalGeneration, batch: Batch, view: View | None = None
) -> list[bool]:
    """Of each conversation, in their order: would greedy decoding give exactly its reply?"""
    replied = batch.targets != IGNORED
    rows, branches = torch.where(replied)[0], batch.branches[replied]
    missed = _predict(model, batch, view or look(model, batch)).argmax(-1) != batch.targets[replied]
    conversation = torch.unique(rows * (1 + branches.max()) + branches, return_inverse=True)[1]
    return [not count for count in torch.bincount(conversation, weights=missed).tolist()]


def _predict(model: Qwen2VLForConditionalGeneration, batch: Batch, view: View) -> torch.Tensor:
    """Logits (reply tokens, vocabulary) of what follows, where the targets are."""
    embedded = model.get_input_embeddings()(batch.tokens)
    seen = view.tokens.to(embedded.dtype)
    embedded = embedded.masked_scatter(
        (batch.tokens == model.config.image_token_id).unsqueeze(-1), seen
    )
    key, query = batch.branches.unsqueeze(1), batch.branches.unsqueeze(2)
    visible = ((key == query) | (key == 0)) & torch.ones(
        batch.tokens.shape[1:] * 2, dtype=torch.bool
    ).tril()
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=_rope_positions(model, batch),
        attention_mask={"full_attention": visible.unsqueeze(1)},
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[batch.targets != IGNORED]).float()
    return logits
