"""What is told beside the answers: what is where, what it is called, and what is before it."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from zoo.architecture import build_processor
from zoo.families.lessons import set_exercise
from zoo.families.letters import LETTERS
from zoo.families.spotting import VOCABULARIES, WEIGHT_OF_SIGNS, Names, Spotter, find_spots
from zoo.minivqa import sources
from zoo.minivqa.lettering import letter
from zoo.minivqa.picture import SIDE, Mark, Picture, Question
from zoo.packing import Packer


def test_a_visual_token_is_to_say_what_is_at_its_patches_and_what_is_before(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    entries = len(tokenizer)
    names, spots = Names(tokenizer, entries), torch.zeros(8, len(VOCABULARIES), dtype=torch.long)
    spots[1, 0], spots[2, 1] = VOCABULARIES[0].index("b"), VOCABULARIES[1].index("red")
    sign, answered, asked, other = (
        tokenizer.convert_tokens_to_ids(name) for name in ("b", "red", "Ġred", "c")
    )
    right = sign, answered, asked

    def loss(*said: int) -> float:
        logits = torch.full((2, entries), -20.0)
        logits[0, list(said)] = 20.0
        return names.compute_loss(logits, torch.nn.Identity(), spots).item()

    assert loss(*right) == pytest.approx(math.log(3), abs=1e-3), "the second token shows nothing"
    assert loss(*right) < loss(*right, other) < loss(sign, asked) < loss(sign) < loss(other)
    assert loss(answered, asked) == pytest.approx(WEIGHT_OF_SIGNS * loss(sign), rel=0.1)
    with torch.no_grad():
        next(names.parameters()).copy_(
            torch.eye(entries).roll(1, 0)
        )  # whoever says b, turned says c
    assert tokenizer.convert_tokens_to_ids("b") + 1 == other
    alone = loss(*right)
    spots[1, 2] = VOCABULARIES[2].index("c")
    assert loss(*right) == pytest.approx(alone + math.log(3), abs=1e-3), (
        "it turns red, too, into something"
    )
    spots[1, 2] = VOCABULARIES[2].index("a")
    assert loss(*right) > alone + 10


def test_names_of_pictures_that_show_nothing_cost_nothing(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    nothing = torch.zeros(8, len(VOCABULARIES), dtype=torch.long)
    assert (
        Names(tokenizer, 4)
        .compute_loss(torch.randn(2, 4), torch.nn.Linear(4, len(tokenizer)), nothing)
        .item()
        == 0.0
    )


def test_characters_know_what_is_before_them(tokenizer: PreTrainedTokenizerFast) -> None:
    font = sources.installed(sources.FONTS.seen[0])
    written = letter("abba", font, 30, (0, 0, 0)).resized(90, 30).rotated(4)
    assert [(mark.name, mark.after) for mark in written.marks] == [
        ("a", ""),
        ("b", "a"),
        ("b", "b"),
        ("a", "b"),
    ]
    assert [mark.after for mark in written.put_on(Image.new("RGB", (SIDE, SIDE)), 2, 2)] == [
        "",
        "a",
        "b",
        "b",
    ]
    spots = find_spots(Picture(Image.new("RGB", (SIDE, SIDE)), (), (), (), written.marks), 8)
    assert {VOCABULARIES[2][number] for number in spots[:, 2].tolist()} == {
        "nothing",
        "start",
        "a",
        "b",
    }


@pytest.mark.parametrize("patch", [8, 14])
def test_spots_are_in_the_order_of_the_models_patches(
    tokenizer: PreTrainedTokenizerFast, patch: int
) -> None:
    left, right = Mark("red", 0, 0, SIDE / 2, SIDE), Mark("B", SIDE / 2, SIDE / 2, SIDE, SIDE)
    canvas = Image.new("RGB", (SIDE, SIDE), "black")
    canvas.paste("white", (SIDE // 2, SIDE // 2, SIDE, SIDE))
    question = Question("?", "b", ("b",), "sign")
    picture = Picture(canvas, (question,), (), (), (left, right))
    packer = Packer(build_processor(tokenizer, side=SIDE, patch=patch))
    exercise = set_exercise(packer, LETTERS, [picture])
    sign, color, _ = exercise.spots.T
    is_white = exercise.batch.pixels.mean(1) > 0
    assert len(sign) == (SIDE // patch) ** 2
    assert torch.equal(sign == VOCABULARIES[0].index("b"), is_white)
    assert int((color == VOCABULARIES[1].index("red")).sum()) == len(color) // 2
    assert not (color.bool() & sign.bool()).any()


def test_a_spotter_learns_what_is_where() -> None:
    torch.manual_seed(0)
    spots = torch.randint(0, 5, (64, len(VOCABULARIES)))
    features, spotter = torch.nn.Embedding(125, 16), Spotter(16)
    pairs = (spots * torch.tensor([25, 5, 1])).sum(1)
    optimizer = torch.optim.Adam([*features.parameters(), *spotter.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        spotter.compute_loss(features(pairs), spots).backward()
        optimizer.step()
    found = spotter.find_right(features(pairs), spots)
    assert len(found) == int((spots > 0).sum())
    assert found.all()
