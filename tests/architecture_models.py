"""Models and processors of served architectures, with small random weights.

They share the bundled pair's byte-level BPE. Each has the template, the image tokens and the kind
of tiling of real checkpoints, on images of 28 to 84 pixels. A head is 32 wide, which vLLM's CPU
attention supports.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WIDTH, HEADS, MLP = 64, 2, 128
TILE, PATCH = 28, 7
"""Pixels: 4x4 patches a tile."""


def _tokenizer(*marks: str, eos: str, **named: str) -> Any:
    """The pair's tokenizer with an architecture's special tokens; `named` become attributes."""
    from transformers import AutoTokenizer

    from zoo.architecture import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"eos_token": eos})
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*marks, *named.values()]}, replace_extra_special_tokens=False
    )
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if not named:
            return tokenizer
        return AutoTokenizer.from_pretrained(folder, extra_special_tokens=named)


def _template(turn: str, image: str, end: str, generation: str) -> str:
    """A template that writes `turn`, the message's parts and `end` for every message."""
    part = (
        "{% if part.type == 'image' %}"
        + image
        + "{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    )
    parts = (
        "{% if message.content is string %}{{ message.content }}"
        "{% else %}{% for part in message.content %}" + part + "{% endfor %}{% endif %}"
    )
    messages = "{% for message in messages %}" + turn + parts + end + "{% endfor %}"
    return messages + "{% if add_generation_prompt %}" + generation + "{% endif %}"


def _language(tokenizer: Any, model_type: str) -> dict[str, Any]:
    from zoo.architecture import CONTEXT_LENGTH

    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": MLP,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT_LENGTH,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def _tower(**more: Any) -> dict[str, Any]:
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": MLP,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
    }
    return {**shape, "image_size": TILE, "patch_size": PATCH, **more}


def build_qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: 84 pixels are 3x3 visual tokens; a window is 2x2 of them."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    from zoo.architecture import CHAT_TEMPLATE, build_tokenizer

    tokenizer = build_tokenizer()
    pixels = {"shortest_edge": 84**2, "longest_edge": 84**2}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=pixels),
        chat_template=CHAT_TEMPLATE,
    )
    ids: dict[str, Any] = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {
            "image": "image_pad",
            "video": "video_pad",
            "vision_start": "vision_start",
            "vision_end": "vision_end",
        }.items()
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    config = Qwen2_5_VLConfig(
        text_config={**_language(tokenizer, "qwen2_5_vl_text"), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "out_hidden_size": WIDTH,
            "intermediate_size": MLP,
            "num_heads": HEADS,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        **ids,
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


_CELLS = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
_IDEFICS_TEMPLATE = "<|im_start|>" + _template(
    "{{ message.role | capitalize }}:{% if message.content[0].type != 'image' %} {% endif %}",
    "<image>",
    "<end_of_utterance>\n",
    "Assistant:",
)


def build_idefics3() -> tuple[Any, Any]:
    """SmolVLM-500M: up to 2x2 tiles, by the image's proportions, and the whole; 4 tokens each."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    tokenizer = _tokenizer(
        "<fake_token_around_image>", "<image>", "<global-img>", *_CELLS, eos="<end_of_utterance>"
    )
    images = Idefics3ImageProcessor(
        size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE}
    )
    processor = Idefics3Processor(
        images, tokenizer, image_seq_len=4, chat_template=_IDEFICS_TEMPLATE
    )
    config = Idefics3Config(
        text_config=_language(tokenizer, "llama"),
        vision_config=_tower(),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    return Idefics3ForConditionalGeneration(config), processor


LLAVA_TEMPLATE = _template("{{ message.role | upper }}: ", "<image>\n", " ", "ASSISTANT:")


def build_llava() -> tuple[Any, Any]:
    """LLaVA 1.5: a CLIP tower read at its last layer but one, 16 visual tokens, plain turns."""
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _tokenizer("<image>", eos="</s>")
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        text_config=_language(tokenizer, "llama"),
        vision_config=_tower(model_type="clip_vision_model", projection_dim=WIDTH),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return LlavaForConditionalGeneration(config), processor


def build_tinyllava() -> tuple[Any, Any]:
    """TinyLLaVA's conversion: SigLIP, StableLM 2, 16 visual tokens, a long system prompt."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from services.engines.conversion.conversion import convert
    from tests.tinyllava import publish

    with TemporaryDirectory() as folder:
        out = Path(folder, "converted")
        with torch.device("cpu"):  # a conversion needs weights, also if the model gets none
            convert(str(publish(Path(folder, "published"))), out)
        processor = AutoProcessor.from_pretrained(out)
        config = AutoConfig.from_pretrained(out)
    return AutoModelForImageTextToText.from_config(config), processor


_CHATML = _template(
    "<|im_start|>{{ message.role }}\n", "<image>\n", "<|im_end|>\n", "<|im_start|>assistant\n"
)


def build_llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision: up to 2x2 tiles and the whole, 16 tokens each, and one to end a row."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = _tokenizer("<image>", "<video>", eos="<|im_end|>")
    size = {"height": TILE, "width": TILE}
    pinpoints = [[rows * TILE, columns * TILE] for rows in (1, 2) for columns in (1, 2)]
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_CHATML,
    )
    config = LlavaOnevisionConfig(
        text_config=_language(tokenizer, "qwen2"),
        vision_config=_tower(model_type="siglip_vision_model", vision_use_head=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def build_internvl() -> tuple[Any, Any]:
    """InternVL3 in transformers' format: tiles by the image's proportions, 4 visual tokens each."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    tokenizer = _tokenizer(
        eos="<|im_end|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"height": TILE, "width": TILE}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=_CHATML.replace("<image>", "<IMG_CONTEXT>"),
    )
    config = InternVLConfig(
        text_config=_language(tokenizer, "qwen2"),
        vision_config=_tower(image_size=[TILE, TILE], patch_size=[PATCH, PATCH]),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config), processor
