"""The presets agree with the libraries: classes, image processors, numbers of parameters."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from services.core.model_parts import is_trained, part_of
from services.core.pixels import MOST_NARROW
from services.core.presets import PRESETS
from tests.test_documents import ROOT

pytestmark = pytest.mark.slow


def test_transformers_has_the_classes_of_the_models_that_it_loads():
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    known = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values())
    for preset in PRESETS.values():
        assert (preset.architecture in known) == ("transformers" in preset.engines), preset.name


def _text(preset, **more):
    shape = preset.shape
    return {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        **more,
    }


def _qwen2vl(preset):
    from transformers import Qwen2VLConfig

    tied = preset.shape.hidden < 3000
    vision = {"hidden_size": preset.shape.hidden, "embed_dim": 1280, "depth": 32, "num_heads": 16}
    return Qwen2VLConfig(
        text_config=_text(preset, tie_word_embeddings=tied),
        vision_config=vision,
        tie_word_embeddings=tied,
    )


def _qwen25vl(preset):
    from transformers import Qwen2_5_VLConfig

    tied = preset.shape.hidden < 3000
    vision = {
        "hidden_size": 1280,
        "out_hidden_size": preset.shape.hidden,
        "depth": 32,
        "intermediate_size": 3420,
    }
    return Qwen2_5_VLConfig(
        text_config=_text(preset, tie_word_embeddings=tied),
        vision_config=vision,
        tie_word_embeddings=tied,
    )


def _qwen3vl(preset):
    from transformers import Qwen3VLConfig

    tied = preset.shape.hidden < 4000
    small = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "depth": 24,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    large = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "depth": 27,
        "deepstack_visual_indexes": [8, 16, 24],
    }
    vision = {**(small if tied else large), "out_hidden_size": preset.shape.hidden, "num_heads": 16}
    return Qwen3VLConfig(
        text_config=_text(preset, tie_word_embeddings=tied),
        vision_config=vision,
        tie_word_embeddings=tied,
    )


def _internvl(preset):
    from transformers import InternVLConfig

    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "attention_bias": True,
    }
    text = _text(preset, model_type="qwen2", vocab_size=151_674)
    return InternVLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)


def _smolvlm(preset):
    from transformers import Idefics3Config, SmolVLMConfig

    small = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 16,
    }
    large = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
    }
    is_small = preset.shape.hidden < 1000
    vision = {
        **(small if is_small else large),
        "image_size": preset.image_processor["max_image_size"]["longest_edge"],
    }
    config = Idefics3Config if preset.architecture.startswith("Idefics3") else SmolVLMConfig
    return config(
        text_config=_text(preset, model_type="llama"),
        vision_config=vision,
        scale_factor=4 if is_small else 3,
        tie_word_embeddings=False,
    )


def _llava_onevision(preset):
    from transformers import LlavaOnevisionConfig

    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
        "vision_use_head": False,
    }
    tied = preset.shape.hidden < 1000
    text = _text(
        preset,
        model_type="qwen2",
        tie_word_embeddings=tied,
        vocab_size=preset.shape.vocabulary + 64,
    )
    return LlavaOnevisionConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


CONFIGS = {
    "Qwen2VLForConditionalGeneration": _qwen2vl,
    "Qwen2_5_VLForConditionalGeneration": _qwen25vl,
    "Qwen3VLForConditionalGeneration": _qwen3vl,
    "InternVLForConditionalGeneration": _internvl,
    "Idefics3ForConditionalGeneration": _smolvlm,
    "SmolVLMForConditionalGeneration": _smolvlm,
    "LlavaOnevisionForConditionalGeneration": _llava_onevision,
}


@pytest.mark.parametrize(
    "name",
    [name for name, preset in PRESETS.items() if preset.architecture in CONFIGS and preset.hub_id],
)
def test_the_number_of_parameters_is_that_of_the_architecture(name):
    import torch
    from transformers import AutoModelForImageTextToText

    from services.engines.dimensions import dimensions

    preset = PRESETS[name]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(CONFIGS[preset.architecture](preset))
    model.tie_weights()
    assert model.num_parameters() == preset.parameters
    found = dimensions(model.config, preset.parameters)
    assert found.language.layer_bytes(2) == preset.shape.layer_bytes(2)
    assert found.tower is not None and preset.tower is not None
    assert found.tower == replace(preset.tower, patches=1)


@pytest.mark.parametrize(
    "name", [name for name, each in PRESETS.items() if each.architecture in CONFIGS]
)
def test_trained_parts_are_the_projections_of_every_layer(name):
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    preset = PRESETS[name]
    shape = preset.shape
    assert shape is not None
    config = (
        AutoConfig.from_pretrained(ROOT / "zoo" / preset.folder)
        if preset.folder
        else CONFIGS[preset.architecture](preset)
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    matrices = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if part_of(name).startswith("layer") and parameter.dim() == 2
    }
    widths = 2 * (shape.heads + shape.key_value_heads) * shape.head_size
    for trainable, width in (("attention", widths), ("gate-up", 2 * shape.intermediate)):
        found = sum(size for name, size in matrices.items() if is_trained(name, trainable))
        assert found == shape.layers * shape.hidden * width, trainable
    parts = {part_of(name) for name, _ in model.named_parameters()}
    assert {"connector", "vision tower"} <= parts


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.folder])
def test_the_models_of_this_repository_are_as_large_as_their_files_say(name):
    from safetensors import safe_open

    with safe_open(ROOT / "zoo" / PRESETS[name].folder / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(key).get_shape() for key in list(weights.keys())]
    assert sum(map(math.prod, shapes)) == PRESETS[name].parameters


@pytest.mark.parametrize(
    ("name", "side"), [("qwen2vl-2b", 28), ("qwen2.5vl-3b", 28), ("qwen3vl-2b", 32)]
)
def test_the_pixel_budget_of_qwen_bounds_the_visual_tokens(name, side):
    """The preset's keys win over the size in the checkpoint, in both of its forms."""
    import torch
    from transformers import Qwen2VLImageProcessor

    preset = PRESETS[name]
    for own in (
        {"min_pixels": 3136, "max_pixels": 12_845_056},
        {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}},
    ):
        processor = Qwen2VLImageProcessor(
            **{"patch_size": side // 2, **own, **preset.image_processor}
        )
        for height, width in ((4000, 3000), (40, 30)):
            grid = processor(torch.zeros(3, height, width, dtype=torch.uint8), return_tensors="pt")[
                "image_grid_thw"
            ]
            assert 200 <= int(grid.prod()) // 4 <= preset.visual_tokens


def test_the_tiles_of_internvl_bound_the_visual_tokens():
    import torch
    from transformers import GotOcr2ImageProcessor

    preset = PRESETS["internvl3-2b"]
    processor = GotOcr2ImageProcessor(size={"height": 448, "width": 448}, **preset.image_processor)
    pixels = processor(torch.zeros(3, 3000, 4000, dtype=torch.uint8), return_tensors="pt")[
        "pixel_values"
    ]
    assert len(pixels) * 256 <= preset.visual_tokens
    assert len(pixels) > 1


ODD_SIZES = ((12, 12), (120, 80), (15, 2999), (1, 3000), (4000, 3000))


@pytest.mark.parametrize("name", ["qwen2vl-2b", "smolvlm-500m", "internvl3-2b"])
def test_images_of_odd_sizes_are_taken_within_the_visual_tokens(name):
    """Qwen's processor alone refuses a side that is over 200 times the other."""
    import torch
    from transformers import GotOcr2ImageProcessor, Idefics3ImageProcessor, Qwen2VLImageProcessor

    preset = PRESETS[name]
    builders: dict[str, tuple[Any, int]] = {
        "qwen2vl": (Qwen2VLImageProcessor, 0),
        "smolvlm": (partial(Idefics3ImageProcessor, do_image_splitting=True), 64),
        "internvl3": (partial(GotOcr2ImageProcessor, size={"height": 448, "width": 448}), 256),
    }
    build, per_tile = builders[name.partition("-")[0]]
    processor = build(**preset.image_processor)
    for width, height in ODD_SIZES:
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        if not per_tile and max(width, height) > MOST_NARROW * min(width, height):
            with pytest.raises(ValueError, match="aspect ratio must be smaller than 200"):
                processor(image, return_tensors="pt")
            continue
        inputs = processor(image, return_tensors="pt")
        if per_tile:
            found = inputs["pixel_values"].shape[-4] * per_tile
        else:
            found = int(inputs["image_grid_thw"].prod()) // 4
        assert 0 < found <= preset.visual_tokens, (width, height)
