"""Spots and names: extra targets of training besides the answers."""

import math

import pytest
from PIL import Image

from zoo.minivqa import sources
from zoo.minivqa.lettering import letter
from zoo.minivqa.picture import SIDE, Mark, Picture, Question


def test_a_visual_token_names_the_things_at_its_patches_and_the_letter_before(tokenizer):
    import torch

    from zoo.families.spotting import VOCABULARIES, WEIGHT_OF_SIGNS, Names

    entries = len(tokenizer)
    names = Names(tokenizer, entries)
    spots = torch.zeros(8, len(VOCABULARIES), dtype=torch.long)
    spots[1, 0] = VOCABULARIES[0].index("b")
    spots[2, 1] = VOCABULARIES[1].index("red")
    sign, answered, asked, other = (
        tokenizer.convert_tokens_to_ids(name) for name in ("b", "red", "Ġred", "c")
    )
    right = (sign, answered, asked)

    def loss(*said):
        logits = torch.full((2, entries), -20.0)
        logits[0, list(said)] = 20.0
        return names.compute_loss(logits, torch.nn.Identity(), spots).item()

    assert loss(*right) == pytest.approx(math.log(3), abs=1e-3), "the second token shows nothing"
    assert loss(*right) < loss(*right, other) < loss(sign, asked) < loss(sign) < loss(other)
    assert loss(answered, asked) == pytest.approx(WEIGHT_OF_SIGNS * loss(sign), rel=0.1)
    with torch.no_grad():
        # A token that says b, turned, says c.
        next(names.parameters()).copy_(torch.eye(entries).roll(1, 0))
    assert tokenizer.convert_tokens_to_ids("b") + 1 == other
    alone = loss(*right)
    spots[1, 2] = VOCABULARIES[2].index("c")
    also_red_is_turned = math.log(3)
    assert loss(*right) == pytest.approx(alone + also_red_is_turned, abs=1e-3)
    spots[1, 2] = VOCABULARIES[2].index("a")
    assert loss(*right) > alone + 10


def test_names_of_pictures_that_show_nothing_cost_nothing(tokenizer):
    import torch

    from zoo.families.spotting import VOCABULARIES, Names

    names = Names(tokenizer, 4)
    nothing = torch.zeros(8, len(VOCABULARIES), dtype=torch.long)
    head = torch.nn.Linear(4, len(tokenizer))
    assert names.compute_loss(torch.randn(2, 4), head, nothing).item() == 0.0


def test_characters_know_the_ones_before_them():
    from zoo.families.spotting import VOCABULARIES, find_spots

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


@pytest.mark.parametrize(
    ("architecture", "patch"), [("QWEN2_VL", 8), ("QWEN2_VL", 14), ("IDEFICS3", 14)]
)
def test_spots_are_in_the_order_of_the_models_patches(tokenizer, architecture, patch):
    import torch

    from zoo.anatomy import cut
    from zoo.families import architectures
    from zoo.families.lessons import set_exercise
    from zoo.families.letters import LETTERS
    from zoo.families.spotting import VOCABULARIES
    from zoo.packing import Packer

    left = Mark("red", 0, 0, SIDE / 2, SIDE)
    right = Mark("B", SIDE / 2, SIDE / 2, SIDE, SIDE)
    canvas = Image.new("RGB", (SIDE, SIDE), "black")
    canvas.paste("white", (SIDE // 2, SIDE // 2, SIDE, SIDE))
    question = Question("?", "b", ("b",), "sign")
    picture = Picture(canvas, (question,), (), (), (left, right))
    build_processor = getattr(architectures, architecture).build_processor
    packer = Packer(build_processor(tokenizer, SIDE, patch))
    exercise = set_exercise(packer, LETTERS, [picture])
    pixels = exercise.batch.pixels
    patches = pixels if pixels.ndim == 2 else cut(pixels, patch)
    sign, color, _ = exercise.spots.T
    is_white = patches.mean(1) > 0
    assert len(sign) == (SIDE // patch) ** 2
    assert torch.equal(sign == VOCABULARIES[0].index("b"), is_white)
    assert int((color == VOCABULARIES[1].index("red")).sum()) == len(color) // 2
    assert not (color.bool() & sign.bool()).any()


def test_a_spotter_learns_the_names():
    import torch

    from zoo.families.spotting import VOCABULARIES, Spotter

    torch.manual_seed(0)
    spots = torch.randint(0, 5, (64, len(VOCABULARIES)))
    features = torch.nn.Embedding(125, 16)
    spotter = Spotter(16)
    pairs = (spots * torch.tensor([25, 5, 1])).sum(1)
    optimizer = torch.optim.Adam([*features.parameters(), *spotter.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        spotter.compute_loss(features(pairs), spots).backward()
        optimizer.step()
    found = spotter.find_right(features(pairs), spots)
    assert len(found) == int((spots > 0).sum())
    assert found.all()
