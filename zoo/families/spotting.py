"""What is where, patch by patch: what a model is told beside the answers. For training only; no model keeps it.

An answer says a word or two about a whole picture. A tower this small learns letters from that only after hours; told which
letter, object and color is at each patch, and which letter comes before, within minutes. And what the language model is
given of a patch is brought near the words for these, so that all it has left to learn of reading is to go from one to the next.
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

NOTHING, START, HIGHEST = "nothing", "start", "highest"
VOCABULARIES = (
    (NOTHING, *string.ascii_lowercase, *string.digits, *(thing.name for thing in OBJECTS), HIGHEST),
    (NOTHING, *COLORS),
    (NOTHING, START, *string.ascii_lowercase, *string.digits),
)
"""A patch has one name of each: letters stand on signs that have a color, and after other letters; so has the highest bar."""
WEIGHT_OF_NOTHING = 0.1
"""Three patches in four show nothing."""
WEIGHT_OF_SIGNS = 4.0
"""They are small, and what they stand on is large and has a color: else a visual token says hardly anything but that."""


def find_spots(picture: Picture, patch: int) -> torch.Tensor:
    """(patches, vocabularies): the name at the middle of each patch, by number, in the order of the model's patches."""
    count = SIDE // patch
    spots = torch.zeros(count, count, len(VOCABULARIES), dtype=torch.long)
    for mark in picture.marks:
        rows, columns = (
            slice(_first_patch(start, patch), _first_patch(end, patch))
            for start, end in ((mark.top, mark.bottom), (mark.left, mark.right))
        )
        after = "" if mark.after is None else mark.after.lower() or START
        for kind, (name, vocabulary) in enumerate(
            zip((mark.name.lower(), mark.name, after), VOCABULARIES, strict=True)
        ):
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
        self._heads = nn.ModuleList(
            nn.Linear(width, len(vocabulary)) for vocabulary in VOCABULARIES
        )

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


class Names(nn.Module):
    """What a visual token says in the language model's own words: what is at its patches and, turned, what is before them."""

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
        """`said`: (visual tokens, width), as it would come to `head`, which makes logits of it.

        Mean negative log-likelihood of the names at the patches, a sign counting as WEIGHT_OF_SIGNS of them.
        """
        things, colors, before = (
            shares[spots[:, kind]] for kind, shares in enumerate(self._shares)
        )
        return _compare(head(said), things + colors) + _compare(head(self._turn(said)), before)


def _words(name: str) -> tuple[str, ...]:
    """Nothing is said of nothing; a reply starts on a new line, or after a blank; a question has colors after a blank, too."""
    if name in COLORS:
        return name, f" {name}"
    return {NOTHING: (), START: ("\n", " "), HIGHEST: (f" {HIGHEST}",)}.get(name, (name,))


def _share(name: str, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """(entries): of a word of several tokens, the first."""
    share, words = torch.zeros(len(tokenizer)), _words(name)
    for word in words:
        share[tokenizer(word).input_ids[0]] = 1 / len(words)
    return share * (WEIGHT_OF_SIGNS if len(name) == 1 else 1.0)


def _compare(logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    of_token = shares.view(len(logits), MERGE**2, -1).sum(1)
    return -(of_token * logits.float().log_softmax(-1)).sum() / of_token.sum().clamp(min=1.0)
