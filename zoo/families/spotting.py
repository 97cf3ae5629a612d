"""What is where, patch by patch: what a model is told beside the answers. For training only; no model keeps it.

An answer says a word or two about a whole picture. A tower this small learns letters from that only after hours; told which
letter, object and color is at each patch, within minutes. And what the language model is given of a patch is brought near the
word for what is there, so that all it has left to learn of reading is where to look.
"""

from __future__ import annotations

import string

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from benchmarks.minivqa.lexicon import COLORS
from benchmarks.minivqa.objects import OBJECTS
from benchmarks.minivqa.picture import SIDE, Picture
from zoo.architecture import MERGE

NOTHING = "nothing"
VOCABULARIES = (
    (NOTHING, *string.ascii_lowercase, *string.digits, *(thing.name for thing in OBJECTS)),
    (NOTHING, *COLORS),
)
"""A patch has one name of each: letters stand on signs that have a color."""
WEIGHT_OF_NOTHING = 0.1
"""Three patches in four show nothing."""


def find_spots(picture: Picture, patch: int) -> torch.Tensor:
    """(patches, vocabularies): the name at the middle of each patch, by number, in the order of the model's patches."""
    count = SIDE // patch
    spots = torch.zeros(count, count, len(VOCABULARIES), dtype=torch.long)
    for mark in picture.marks:
        rows, columns = (
            slice(_first_patch(start, patch), _first_patch(end, patch))
            for start, end in ((mark.top, mark.bottom), (mark.left, mark.right))
        )
        name = mark.name.lower()
        for kind, vocabulary in enumerate(VOCABULARIES):
            if name in vocabulary:
                spots[rows, columns, kind] = vocabulary.index(name)
    blocks = spots.view(count // MERGE, MERGE, count // MERGE, MERGE, -1).transpose(1, 2)
    return blocks.flatten(0, 3)


def _first_patch(at: float, patch: int) -> int:
    """The first whose middle is not before that pixel."""
    return max(0, round(at / patch))


class Spotter(nn.Module):
    """Names what is at each patch, by the vision tower's last layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._norm = nn.LayerNorm(width)
        self._heads = nn.ModuleList(nn.Linear(width, len(vocabulary)) for vocabulary in VOCABULARIES)

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Logits (patches, names), of each vocabulary."""
        normed = self._norm(features)
        return [head(normed).float() for head in self._heads]

    def compute_loss(self, features: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood of a name, over patches by weight, summed over vocabularies."""
        losses = []
        for kind, logits in enumerate(self(features)):
            weight = torch.ones(logits.shape[1])
            weight[0] = WEIGHT_OF_NOTHING
            losses.append(cross_entropy(logits, spots[:, kind], weight))
        return torch.stack(losses).sum()

    def find_right(self, features: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
        """Of every name that is there, and not nothing: is it the likeliest?"""
        right = [logits.argmax(-1) == spots[:, kind] for kind, logits in enumerate(self(features))]
        return torch.stack(right, dim=1)[spots > 0]


class Names:
    """The tokens that stand for what can be at a patch: of a name of two words, the first."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokens = [torch.tensor([tokenizer(name).input_ids[0] for name in vocabulary]) for vocabulary in VOCABULARIES]
        self._entries = len(tokenizer)

    def compute_loss(self, logits: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
        """Of what each visual token says, logits (visual tokens, entries), against what is at its patches, in equal shares.

        Mean negative log-likelihood over the visual tokens that show anything.
        """
        shares = torch.zeros(len(logits), self._entries)
        for kind, tokens in enumerate(self._tokens):
            of_token = spots[:, kind].view(len(logits), MERGE**2)
            shares.scatter_add_(1, tokens[of_token], (of_token > 0).float())
        total = shares.sum(1, keepdim=True)
        shows = total.squeeze(1) > 0
        loss = cross_entropy(logits[shows].float(), (shares / total.clamp(min=1))[shows], reduction="sum")
        return loss / max(1, int(shows.sum()))
