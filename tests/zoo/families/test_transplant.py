"""A Qwen2-VL's vision tower in an Idefics3."""

from dataclasses import replace
from shutil import copytree

import pytest

from services.core.errors import MpaError
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part


@pytest.fixture(scope="module")
def images():
    return [FAMILIES["reading"].draw(Part.TRAINING, 0, number).image for number in range(3)]


def test_pixels_are_cut_as_a_qwen2_vl_cuts_an_image(tokenizer, images):
    import torch

    from zoo import idefics3
    from zoo.anatomy import cut, prepare
    from zoo.architecture import build_processor

    patches, grid = prepare(build_processor(tokenizer, side=112, patch=14), images)
    pixels, same = prepare(idefics3.build_processor(tokenizer, side=112, patch=14), images)
    torch.testing.assert_close(cut(pixels, 14), patches, atol=1e-5, rtol=0)
    assert torch.equal(grid, same)


def test_a_carried_over_tower_has_the_originals_contents_and_looks_where_it_looks(
    tiny, imitator, images
):
    import torch

    from zoo.anatomy import prepare
    from zoo.architecture import build_model
    from zoo.families.corpus import build_tokenizer
    from zoo.families.neighbours import DISTANCES, look_around
    from zoo.families.transplant import Original, compare, norms_of, recorded

    torch.manual_seed(0)
    tokenizer = build_tokenizer(imitator.architecture)
    processor = imitator.architecture.build_processor(tokenizer, imitator.architecture.side, 8)
    pixels, grid = prepare(processor, images)
    source = build_model(replace(tiny.course.size, patch=8), build_tokenizer())
    look_around(source)
    visual = source.model.visual
    with torch.no_grad():
        visual.patch_embed.proj.weight *= 20  # contents are large, as in a trained tower
        visual.blocks[0].attn.qkv.weight[: 2 * tiny.course.size.vision_width] = 0
    original = Original(source)
    model = imitator.architecture.build_model(imitator.size, tokenizer)
    tower = model.model.vision_model

    def look():
        with recorded(norms_of(model)) as seen, torch.no_grad():
            tower(pixel_values=pixels)
        return seen

    wanted = original.look(pixels, grid)
    assert compare(look(), wanted, grid) > 1
    original.carry_over(model, pixels, grid)
    assert compare(look(), wanted, grid) < 0.2
    layer = tower.encoder.layers[0]
    with torch.no_grad():
        normed = layer.layer_norm1(look()[0])
        query, key = layer.self_attn.q_proj(normed), layer.self_attn.k_proj(normed)
    head = slice(0, layer.self_attn.head_dim)
    found = (query[..., head] @ key[..., head].transpose(1, 2)).argmax(-1)
    side = int(grid[0, 1])
    down, right = DISTANCES[0][0]
    inner = torch.arange(side**2).view(side, side)[2:-2, 2:-2].flatten()
    assert (found[:, inner] == inner + down * side + right).float().mean() > 0.7, "chance: 0.004"


@pytest.mark.slow
def test_an_idefics3_imitates_a_tower_and_then_learns_replies(tiny, imitator, tmp_path):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from zoo.families.train import train

    with pytest.raises(MpaError, match="train original first"):
        train(imitator, tmp_path / "whole", seed=0)
    source = replace(tiny.course, size=replace(tiny.course.size, patch=8))
    train(source, tmp_path / "original", seed=0, minutes=0)
    copytree(tmp_path / "original", tmp_path / "again" / "original")
    train(imitator, tmp_path / "whole", seed=0)
    for minutes in (1e-9, 0):
        train(imitator, tmp_path / "again" / "broken", seed=0, minutes=minutes)
    half, whole = (
        load_file(tmp_path / folder / "model.safetensors") for folder in ("again/broken", "whole")
    )
    moved = {name for name in half if not torch.equal(half[name], whole[name])}
    assert any("text_model" in name for name in moved)
    assert not any("vision_model" in name for name in moved), "replies leave the tower"
    train(imitator, tmp_path / "again" / "broken", seed=0)
    ended = load_file(tmp_path / "again/broken" / "model.safetensors")
    assert all(torch.equal(ended[name], whole[name]) for name in whole)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")
    assert type(model).__name__ == "Idefics3ForConditionalGeneration"
