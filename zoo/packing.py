"""Several conversations about one image in one row of a batch, invisible to each other.

A row starts with the opening that its conversations share: the image and the first words of their
prompts. A branch per conversation follows: the rest of its prompt and its reply. A branch sees the
opening and itself, at its positions in a conversation alone. So the loss equals that of separate
conversations, but the opening is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from PIL import Image

from zoo.anatomy import Model, Processor, connect, place, prepare, see

IGNORED = -100
_PADDING = -1


@dataclass(frozen=True, slots=True)
class Conversation:
    """One user turn about an image (text only; the image comes first) and the reply to learn."""

    prompt: str
    reply: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows.

    `tokens`, `targets`, `offsets`, `branches`: (rows, length).
    """

    pixels: torch.Tensor
    grid: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor
    """The next token if it belongs to a reply, otherwise IGNORED."""
    offsets: torch.Tensor
    """Positions in the conversation, where the branch follows the opening directly."""
    branches: torch.Tensor
    """0 in the opening, 1.. in the branches, -1 in the padding."""
    conversations: int


@dataclass(frozen=True, slots=True)
class _Row:
    """Lists of one row of a batch, to be filled."""

    tokens: list[int]
    targets: list[int]
    offsets: list[int]
    branches: list[int]


class Packer:
    """Packs images and conversations, with token ids and pixels of the ordinary processor."""

    def __init__(self, processor: Processor) -> None:
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
        pixels, grid = prepare(self._processor, images)
        return Batch(
            pixels=pixels,
            grid=grid,
            tokens=_pad([row.tokens for row in rows], self._processor.tokenizer.pad_token_id),
            targets=_pad([row.targets for row in rows], IGNORED),
            offsets=_pad([row.offsets for row in rows], 0),
            branches=_pad([row.branches for row in rows], _PADDING),
            conversations=sum(map(len, conversations)),
        )

    def decode(self, tokens: torch.Tensor) -> str:
        """The text of one row."""
        return str(self._processor.tokenizer.decode(tokens))

    def _pack_row(self, about: list[Conversation]) -> _Row:
        prompts = [self._tokenize(conversation.prompt) for conversation in about]
        # The last id of a prompt predicts its own reply, so it is never shared.
        columns = zip(*(ids[:-1] for ids in prompts), strict=False)
        shared = [column[0] for column in takewhile(lambda ids: len(set(ids)) == 1, columns)]
        opening = len(shared)
        row = _Row(
            tokens=shared,
            targets=[IGNORED] * opening,
            offsets=list(range(opening)),
            branches=[0] * opening,
        )
        for branch, (ids, conversation) in enumerate(zip(prompts, about, strict=True), start=1):
            prompt = ids[opening:]
            reply = self._processor.tokenizer(conversation.reply).input_ids + self._end
            row.tokens.extend(prompt + reply)
            row.targets.extend([IGNORED] * (len(prompt) - 1) + reply + [IGNORED])
            row.offsets.extend(range(opening, opening + len(prompt) + len(reply)))
            row.branches.extend([branch] * (len(prompt) + len(reply)))
        return row


def _pad(rows: list[list[int]], fill: int) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])


def _rope_positions(model: Model, batch: Batch) -> torch.Tensor:
    """Rotary positions of each conversation alone: (rows, length), or (3, rows, length)."""
    longest = int(batch.offsets.max()) + 1
    alone = batch.tokens[:1, batch.branches[0] == 0]
    alone = torch.nn.functional.pad(alone, (0, longest - alone.shape[1]))
    return place(model, alone, batch.grid)[..., batch.offsets]


class View(NamedTuple):
    """Output of the vision tower for the images of a batch."""

    patches: torch.Tensor
    """(patches, vision width)"""
    tokens: torch.Tensor
    """Input of the language model: (visual tokens, width)."""


def look(model: Model, batch: Batch) -> View:
    patches = see(model, batch.pixels, batch.grid)
    return View(patches, connect(model, patches))


def compute_loss(model: Model, batch: Batch, view: View | None = None) -> torch.Tensor:
    """Negative log-likelihood of the replies, summed over tokens, averaged over conversations.

    All images have the same size. `view`: the output of `look`, if it is there already.
    """
    targets = batch.targets[batch.targets != IGNORED]
    logits = _predict(model, batch, view or look(model, batch))
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / batch.conversations


def find_right(model: Model, batch: Batch, view: View | None = None) -> list[bool]:
    """Would greedy decoding give exactly the reply? One answer per conversation, in their order."""
    replied = batch.targets != IGNORED
    rows = torch.where(replied)[0]
    branches = batch.branches[replied]
    missed = _predict(model, batch, view or look(model, batch)).argmax(-1) != batch.targets[replied]
    conversation = torch.unique(rows * (1 + branches.max()) + branches, return_inverse=True)[1]
    return [not count for count in torch.bincount(conversation, weights=missed).tolist()]


def _predict(model: Model, batch: Batch, view: View) -> torch.Tensor:
    """Logits (reply tokens, vocabulary) of the targets."""
    embedded = model.get_input_embeddings()(batch.tokens)
    seen = view.tokens.to(embedded.dtype)
    embedded = embedded.masked_scatter(
        (batch.tokens == model.config.image_token_id).unsqueeze(-1), seen
    )
    key = batch.branches.unsqueeze(1)
    query = batch.branches.unsqueeze(2)
    length = batch.tokens.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    visible = ((key == query) | (key == 0)) & earlier
    hidden = model.model.get_decoder()(
        inputs_embeds=embedded,
        position_ids=_rope_positions(model, batch),
        attention_mask=visible.unsqueeze(1),
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[batch.targets != IGNORED]).float()
    return logits
