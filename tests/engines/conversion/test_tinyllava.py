"""TinyLLaVA answers after its conversion as its parts do, put together by hand."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from services.core.errors import InvalidInput, NotFound
from services.core.presets import PRESETS
from tests.tinyllava import (
    END,
    PUBLISHED,
    PUBLISHED_ROWS,
    ROPE_SHARE,
    Sizes,
    config_of,
    language_shapes,
    publish,
    ranks,
    tower_shapes,
)

pytestmark = pytest.mark.slow

SIZES = Sizes()
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
IMAGE = "the image"


def converted_from(published, out):
    from services.engines.conversion.conversion import convert

    convert(str(published), out)
    return out


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published") / "model")


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    return converted_from(published, tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def processor(converted):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(converted)


def photo(width, height, seed=0):
    """A photo with noise and edges."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 3] = (200, 30, 90)
    return Image.fromarray(pixels)


def padded_and_scaled(image):
    """The published preparation: a square with bars of gray 127, bicubic, -1 to 1."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), (127, 127, 127))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    scaled = square.resize((SIZES.side, SIZES.side), Image.Resampling.BICUBIC)
    return (np.asarray(scaled).transpose(2, 0, 1) / 255 - 0.5) / 0.5


@pytest.mark.parametrize("size", [(84, 84), (120, 50), (31, 200), (12, 12)])
def test_images_are_prepared_as_published(processor, size):
    image = photo(*size)
    ours = processor.image_processor(image, return_tensors="np")["pixel_values"][0]
    assert np.abs(ours - padded_and_scaled(image)).max() < 2.1 / 127.5, "two levels of gray"


def test_prompts_are_written_as_published(converted):
    from services.engines.chat import Chat

    chat = Chat.of(converted)
    assert chat.render("What is it?") == f"{SYSTEM}USER: <image>\nWhat is it? ASSISTANT:"
    assert chat.render("What?", "Be brief.") == "Be brief. USER: <image>\nWhat? ASSISTANT:"
    assert chat.end_of_turn() == [chat.processor.tokenizer.convert_tokens_to_ids(END)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("12", [b"1", b"2"]),
        ("e\u0301", ["é".encode()[:1], "é".encode()[1:]]),
        ("?!\n", [b"?", b"!", b"\n"]),
        ("\u4e2d", [b"\xe4", b"\xb8", b"\xad"]),
    ],
)
def test_words_are_split_as_arcade100k_splits_them(processor, text, tokens):
    """No word of these is a token of the pair's: each is the bytes after NFC."""
    known = {token: rank for rank, token in enumerate(ranks())}
    assert processor.tokenizer(text)["input_ids"] == [known[token] for token in tokens]


def test_special_tokens_have_their_published_ids(processor):
    start = len(ranks()) + 1
    marks = ["<|endoftext|>", "<|fim_prefix|>", "<|im_start|>", "<|im_end|>", "<|extra0|>"]
    ids = processor.tokenizer.convert_tokens_to_ids(marks)
    assert ids == [start, start + 1, start + 20, start + 21, start + 31]
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == start - 1
    assert processor.tokenizer(f"a{END}b")["input_ids"][1] == start


def by_hand(published, ids, pixels):
    """Logits of published tensors in transformers' own SigLIP and StableLM, shape (tokens, ids)."""
    import torch
    from safetensors.torch import load_file
    from transformers import (
        SiglipVisionConfig,
        SiglipVisionModel,
        StableLmConfig,
        StableLmForCausalLM,
    )

    tensors = load_file(published / "model.safetensors")
    start = "model.vision_tower.vision_tower.vision_model."
    tower = SiglipVisionModel(
        SiglipVisionConfig(  # type: ignore[call-arg]  # the head's switch is read, not declared
            hidden_size=SIZES.tower_width,
            intermediate_size=SIZES.tower_mlp,
            num_hidden_layers=SIZES.tower_layers - 1,
            num_attention_heads=SIZES.tower_heads,
            image_size=SIZES.side,
            patch_size=SIZES.patch,
            vision_use_head=False,
        )
    ).eval()
    tower.load_state_dict(
        {name.removeprefix(start): each for name, each in tensors.items() if start in name}
    )
    language = StableLmForCausalLM(
        StableLmConfig(
            vocab_size=len(tensors["lm_head.weight"]),
            hidden_size=SIZES.width,
            intermediate_size=SIZES.mlp,
            num_hidden_layers=SIZES.layers,
            num_attention_heads=SIZES.heads,
            num_key_value_heads=SIZES.heads,
            use_qkv_bias=True,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": ROPE_SHARE,
            },
        )
    ).eval()
    known = language.state_dict().keys()
    language.load_state_dict({name: each for name, each in tensors.items() if name in known})
    seen = tower(torch.tensor(pixels)[None].float(), output_hidden_states=True).hidden_states[-1][0]
    for layer in (0, 2):
        weight, bias = (
            tensors[f"model.mm_projector.{layer}.{kind}"] for kind in ("weight", "bias")
        )
        seen = torch.nn.functional.linear(seen, weight, bias)
        seen = torch.nn.functional.gelu(seen) if layer == 0 else seen
    parts = [
        seen if part == IMAGE else language.get_input_embeddings()(torch.tensor(part))
        for part in ids
    ]
    return language(inputs_embeds=torch.cat(parts)[None]).logits[0]


def test_logits_are_those_of_the_parts(published, converted, processor):
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(converted, dtype=torch.float32).eval()
    tokenizer = processor.tokenizer
    owned = len(ranks()) + 1 + 32  # later rows have no token
    image_id = processor.image_token_id
    for seed, question in enumerate(("what color is it?", "How many of 12 are RED?")):
        image = photo(90, 60, seed)
        text = f"{SYSTEM}USER: <image>\n{question} ASSISTANT: red circle{END}"
        inputs = processor(text=text, images=[image], return_tensors="pt")
        before, after = text.split("<image>")
        ids = [tokenizer(before)["input_ids"], IMAGE, tokenizer(after)["input_ids"]]
        with torch.inference_mode():
            ours = model(**inputs).logits[0]
            theirs = by_hand(published, ids, inputs["pixel_values"][0].numpy())
        assert ours.shape[0] == theirs.shape[0] == 16 + len(ids[0]) + len(ids[2])
        is_token = torch.arange(owned) != image_id
        assert torch.allclose(
            ours[:, :owned][:, is_token], theirs[:, :owned][:, is_token], atol=1e-4
        )
        rest = torch.cat([ours[:, owned:], ours[:, [image_id]]], 1)
        assert (rest.max(1).values < ours[:, :owned].max(1).values).all(), "never generated"


def test_a_tower_of_its_own_is_found_by_its_name(published, converted, tmp_path):
    import torch
    from safetensors.torch import load_file

    apart = publish(tmp_path / "apart", has_tower=False)
    ours = load_file(converted_from(apart, tmp_path / "out") / "model.safetensors")
    whole = load_file(converted / "model.safetensors")
    assert ours.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in ours.items())
    config = json.loads((apart / "config.json").read_text())
    for named, said in (("no/siglip", "'no/siglip'"), ("", "an unnamed tower")):
        (apart / "config.json").write_text(json.dumps({**config, "mm_vision_tower": named}))
        with pytest.raises(NotFound, match=said):
            converted_from(apart, tmp_path / "again")


def in_memory(name):
    """The name in transformers' class of a tensor on disk."""
    named = name.replace("vision_model.", "").replace("language_model.model.", "language_model.")
    return named.replace("language_model.lm_head", "lm_head")


def test_each_tensor_of_the_true_shape_becomes_one_of_llava(processor, tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText

    from services.engines.conversion import tinyllava

    published = config_of(PUBLISHED, PUBLISHED_ROWS)
    tower = tinyllava._tower(tmp_path)
    config = tinyllava._config(published, tower, processor.tokenizer)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
        found = {
            name: torch.empty(shape)
            for name, shape in {
                **language_shapes(PUBLISHED, PUBLISHED_ROWS),
                **{tinyllava._IN_CHECKPOINT + n: s for n, s in tower_shapes(PUBLISHED).items()},
            }.items()
        }
    rename = tinyllava._Renaming(26, frozenset(range(100_289)), PUBLISHED_ROWS)
    ours = {
        in_memory(name): tensor
        for published_name, tensor in found.items()
        for name, tensor in rename(published_name, tensor)
    }
    theirs = {name.removeprefix("model."): each for name, each in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    parameters = sum(math.prod(tensor.shape) for tensor in theirs.values())
    assert parameters == PRESETS["tinyllava-2b"].parameters


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mm_projector_type": "resampler"}, "mm_projector_type 'resampler'.*with mlp2x_gelu"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio 'anyres'.*with pad or square"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end True"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type 'spatial_unpad'"),
    ],
)
def test_a_setting_that_llava_does_not_have_is_named(tmp_path, settings, said):
    odd = publish(tmp_path / "odd", **settings)
    with pytest.raises(InvalidInput, match=said):
        converted_from(odd, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_is_missing_or_damaged_is_named(tmp_path):
    odd = publish(tmp_path / "odd")
    (odd / "arcade100k.tiktoken").write_bytes(b"=== no rank")
    with pytest.raises(InvalidInput, match=r"arcade100k.tiktoken is damaged"):
        converted_from(odd, tmp_path / "out")
    (odd / "arcade100k.tiktoken").unlink()
    with pytest.raises(InvalidInput, match=r"neither tokenizer.json nor arcade100k.tiktoken"):
        converted_from(odd, tmp_path / "out")


@pytest.mark.parametrize("part", ["", "siglip"])
def test_a_missing_shard_is_named(tmp_path, part):
    odd = publish(tmp_path / "odd", has_tower=False)
    weights = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (odd / part / "model.safetensors.index.json").write_text(json.dumps(weights))
    with pytest.raises(InvalidInput, match=r"lacks 1 of its 1 weight files \(model-00002"):
        converted_from(odd, tmp_path / "out")
