"""Several conversations about one image in one row of a batch, invisible to each other.

A row is the opening of the turn with its image, then a branch per conversation: the rest of its prompt and its reply. A
branch sees the opening and itself, at the positions it would have alone, so the loss is that of separate conversations,
for a fraction of the work: the image and the opening are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

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
        self._vision_end = processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")

    def _tokenize_prompt(self, prompt: str) -> tuple[list[int], list[int]]:
        """The ids of the opening, image tokens included, and of the rest of the prompt."""
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(messages, add_generation_prompt=True)
        ids = self._processor(text=[text], images=[Image.new("RGB", (64, 64))]).input_ids[0]
        split = ids.index(self._vision_end) + 1
        return ids[:split], ids[split:]

    def pack(self, images: list[Image.Image], conversations: list[list[Conversation]]) -> Batch:
        """One row per image."""
        rows = [self._pack_row(about) for about in conversations]
        length = max(len(row[0]) for row in rows)
        fill = (self._processor.tokenizer.pad_token_id, IGNORED, 0, _PADDING)
        tokens, targets, offsets, branches = (
            torch.tensor([row[i] + [fill[i]] * (length - len(row[i])) for row in rows]) for i in range(len(fill))
        )
        vision = self._processor.image_processor(images, return_tensors="pt")
        count = sum(map(len, conversations))
        return Batch(vision.pixel_values, vision.image_grid_thw, tokens, targets, offsets, branches, count)

    def _pack_row(self, about: list[Conversation]) -> tuple[list[int], list[int], list[int], list[int]]:
        tokens = list(self._tokenize(about[0].prompt)[0])
        opening = len(tokens)
        targets, offsets, branches = [IGNORED] * opening, list(range(opening)), [0] * opening
        for branch, conversation in enumerate(about, start=1):
            prompt = self._tokenize(conversation.prompt)[1]
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
    positions, _ = model.model.get_rope_index(alone, mm_token_type_ids=kinds, image_grid_thw=batch.grid[:1])
    return positions[:, 0][:, batch.offsets]


def compute_loss(model: Qwen2VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood of the replies: summed over their tokens, averaged over conversations. All images have
    the same size."""
    embedded = model.get_input_embeddings()(batch.tokens)
    seen = model.model.visual(batch.pixels, grid_thw=batch.grid).pooler_output.to(embedded.dtype)
    embedded = embedded.masked_scatter((batch.tokens == model.config.image_token_id).unsqueeze(-1), seen)
    key, query = batch.branches.unsqueeze(1), batch.branches.unsqueeze(2)
    visible = ((key == query) | (key == 0)) & torch.ones(batch.tokens.shape[1:] * 2, dtype=torch.bool).tril()
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=_rope_positions(model, batch),
        attention_mask={"full_attention": visible.unsqueeze(1)},
        use_cache=False,
    ).last_hidden_state
    replied = batch.targets != IGNORED
    logits = model.lm_head(hidden[replied]).float()
    return torch.nn.functional.cross_entropy(logits, batch.targets[replied], reduction="sum") / batch.conversations
