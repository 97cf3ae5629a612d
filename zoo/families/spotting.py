"""Spots: names of the things at each patch, as extra targets of training; no model keeps them.

An answer has a word or two about a whole picture. From answers alone, a tower this small learns
letters only after hours. With the letter, object and color at each patch, and the letter before it,
it needs minutes. Also, the visual token of a patch is brought near the words for these, so that the
language model only has to learn to go from one letter to the next.
"""

from __future__ import annotations

import string

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from zoo.architecture import MERGE
from zoo.minivqa.lexicon import COLORS
from zoo.minivqa.objects import OBJECTS
from zoo.minivqa.picture import SIDE, Picture

NOTHING = "nothing"
START = "start"
HIGHEST = "highest"
VOCABULARIES = (
    (NOTHING, *string.ascii_lowercase, *string.digits, *(thing.name for thing in OBJECTS), HIGHEST),
    (NOTHING, *COLORS),
    (NOTHING, START, *string.ascii_lowercase, *string.digits),
)
"""One name per patch in each: letter, object or highest bar; color; letter before."""
WEIGHT_OF_NOTHING = 0.1
"""Three patches in four show nothing."""
WEIGHT_OF_SIGNS = 4.0
"""Signs are small, and the color of their large ground would dominate a visual token."""


def find_spots(picture: Picture, patch: int) -> torch.Tensor:
    """The name at the middle of each patch, in the model's order: (patches, vocabularies)."""
    count = SIDE // patch
    spots = torch.zeros(count, count, len(VOCABULARIES), dtype=torch.long)
    for mark in picture.marks:
        rows = slice(_first_patch(mark.top, patch), _first_patch(mark.bottom, patch))
        columns = slice(_first_patch(mark.left, patch), _first_patch(mark.right, patch))
        after = "" if mark.after is None else mark.after.lower() or START
        for kind, name in enumerate((mark.name.lower(), mark.name, after)):
            if name in VOCABULARIES[kind]:
                spots[rows, columns, kind] = VOCABULARIES[kind].index(name)
    blocks = spots.view(count // MERGE, MERGE, count // MERGE, MERGE, -1).transpose(1, 2)
    return blocks.flatten(0, 3)


def _first_patch(at: float, patch: int) -> int:
    """The first patch whose middle is not before pixel `at`."""
    return max(0, round(at / patch))


class Spotter(nn.Module):
    """Names the things at each patch, from the vision tower's last layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._norm = nn.LayerNorm(width)
        self._heads = nn.ModuleList(
            nn.Linear(width, len(vocabulary)) for vocabulary in VOCABULARIES
        )

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Logits (patches, names) for each vocabulary."""
        normed = self._norm(features)
        return [head(normed).float() for head in self._heads]

    def compute_loss(self, features: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihood: weighted mean over patches, summed over vocabularies."""
        losses = []
        for kind, logits in enumerate(self(features)):
            weight = torch.ones(logits.shape[1])
            weight[0] = WEIGHT_OF_NOTHING
            losses.append(cross_entropy(logits, spots[:, kind], weight))
        return torch.stack(losses).sum()

    def find_right(self, features: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
        """Is the right name the likeliest? One answer per name that is not nothing."""
        right = [logits.argmax(-1) == spots[:, kind] for kind, logits in enumerate(self(features))]
        return torch.stack(right, dim=1)[spots > 0]


class Names(nn.Module):
    """Loss of the language model's words for a visual token.

    They name the things at its patches and, after a linear map, the letters before them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, width: int) -> None:
        super().__init__()
        self._turn = nn.Linear(width, width, bias=False)
        self._shares = [
            torch.stack([_share(name, tokenizer) for name in vocabulary])
            for vocabulary in VOCABULARIES
        ]

    def compute_loss(
        self, said: torch.Tensor, head: nn.Module, spots: torch.Tensor
    ) -> torch.Tensor:
        """Mean negative log-likelihood of the names at the patches.

        `said`: (visual tokens, width), the input of `head`, which returns logits. A sign counts
        WEIGHT_OF_SIGNS times.
        """
        things, colors, before = (
            shares[spots[:, kind]] for kind, shares in enumerate(self._shares)
        )
        return _compare(head(said), things + colors) + _compare(head(self._turn(said)), before)


def _words(name: str) -> tuple[str, ...]:
    """Words for a name, none for NOTHING.

    A reply starts on a new line or after a blank; in questions, colors follow a blank.
    """
    if name in COLORS:
        return name, f" {name}"
    return {NOTHING: (), START: ("\n", " "), HIGHEST: (f" {HIGHEST}",)}.get(name, (name,))


def _share(name: str, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Share (entries) of each token in the words for a name; the first token of a word counts."""
    share = torch.zeros(len(tokenizer))
    words = _words(name)
    for word in words:
        share[tokenizer(word).input_ids[0]] = 1 / len(words)
    return share * (WEIGHT_OF_SIGNS if len(name) == 1 else 1.0)


def _compare(logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    of_token = shares.view(len(logits), MERGE**2, -1).sum(1)
    return -(of_token * logits.float().log_softmax(-1)).sum() / of_token.sum().clamp(min=1.0)
