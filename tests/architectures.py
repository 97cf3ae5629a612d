"""A checkpoint of every architecture that the platform serves, with random weights: a few hundred thousand parameters each.

They share the bundled pair's byte-level BPE. Each has the template, the image tokens and the kind of tiling that checkpoints of
its architecture come with, on images of 28 to 84 pixels. A head is 32 wide: vLLM's CPU attention supports that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    GenerationConfig,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from tests.tiny import SIZE
from zoo.architecture import (
    CHAT_TEMPLATE,
    CONTEXT_LENGTH,
    build_model,
    build_processor,
    build_tokenizer,
)

WIDTH, HEADS, MLP = 64, 2, 128
TILE, PATCH = 28, 7
"""Pixels: 4x4 patches a tile."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """`build` makes model and processor. `vision`, `connector` and `language` are in the names of its tensors on disk."""

    build: Callable[[], tuple[Any, Any]]
    end_of_turn: str
    vision: str
    connector: str
    language: str
    prefix: str = ""
    """What `vision` is followed by in checkpoints from the hub, as engines know them; transformers has come to leave it out."""

    unused: str = ""
    """A pattern of the tensors that no answer depends on."""

    def save(self, folder: Path, seed: int = 0) -> Path:
        """Weights, configuration, tokenizer, processor and chat template."""
        torch.manual_seed(seed)
        model, processor = self.build()
        tokenizer = processor.tokenizer
        _spread(model)
        _keep_to_text(model, tokenizer)
        end = tokenizer.convert_tokens_to_ids(self.end_of_turn)
        model.generation_config = GenerationConfig(
            eos_token_id=end, pad_token_id=tokenizer.pad_token_id
        )
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        if self.prefix:
            weights = folder / "model.safetensors"
            tensors = {
                name.replace(self.vision, self.vision + self.prefix): tensor
                for name, tensor in load_file(weights).items()
            }
            save_file(tensors, weights, metadata={"format": "pt"})
        return folder


def _spread(model: torch.nn.Module) -> None:
    """Matrices at 1/sqrt(fan-in), embeddings at 1: what is seen and asked makes a difference to what is answered."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)


def _keep_to_text(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Writes no halves of a character: engines differ in what they show for those, although their tokens are the same."""
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    halves = [
        token for token, text in enumerate(texts) if not (text.isascii() and text.isprintable())
    ]
    with torch.no_grad():
        model.get_output_embeddings().weight[halves] = 0.0


def _tokenizer(*marks: str, eos: str, **named: str) -> PreTrainedTokenizerBase:
    """The pair's, with special tokens of an architecture's own; those `named` become attributes of the tokenizer."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"eos_token": eos})
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*marks, *named.values()]}, replace_extra_special_tokens=False
    )
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return (
            AutoTokenizer.from_pretrained(folder, extra_special_tokens=named)
            if named
            else tokenizer
        )


def _template(turn: str, image: str, end: str, generation: str) -> str:
    """A template that writes `turn`, the message's parts and `end` for every message."""
    parts = (
        "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
        "{% if part.type == 'image' %}"
        + image
        + "{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endif %}"
    )
    messages = "{% for message in messages %}" + turn + parts + end + "{% endfor %}"
    return messages + "{% if add_generation_prompt %}" + generation + "{% endif %}"


def _language(tokenizer: PreTrainedTokenizerBase, model_type: str) -> dict[str, Any]:
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


def _qwen2_vl() -> tuple[Any, Any]:
    processor = build_processor()
    return build_model(SIZE, processor.tokenizer), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    """84 pixels are 3x3 visual tokens; a window is 2x2 of them."""
    tokenizer = build_tokenizer()
    pixels = {"shortest_edge": 84**2, "longest_edge": 84**2}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=pixels),
        chat_template=CHAT_TEMPLATE,
    )
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()
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
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        **ids,
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


_CELLS = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
_IDEFICS_TEMPLATE = "<|im_start|>" + _template(
    "{{ message.role | capitalize }}:", "<image>", "<end_of_utterance>\n", "Assistant:"
)


def _idefics3() -> tuple[Any, Any]:
    """As SmolVLM-500M: up to 2x2 tiles and the whole, by the image's proportions; 4 visual tokens each."""
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


def _llava() -> tuple[Any, Any]:
    """As LLaVA 1.5: a CLIP tower read at its last layer but one, 16 visual tokens, no special token between the turns."""
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


_CHATML = _template(
    "<|im_start|>{{ message.role }}\n", "<image>\n", "<|im_end|>\n", "<|im_start|>assistant\n"
)


def _llava_onevision() -> tuple[Any, Any]:
    """A SigLIP tower; up to 2x2 tiles and the whole, 16 visual tokens each, and one that ends a row."""
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


def _internvl() -> tuple[Any, Any]:
    """As InternVL3 in transformers' own format: tiles by the image's proportions, 4 visual tokens each."""
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


ARCHITECTURES = {
    "qwen2_5_vl": Architecture(
        _qwen2_5_vl, "<|im_end|>", "visual.blocks", "visual.merger", "layers.0.self_attn"
    ),
    "idefics3": Architecture(
        _idefics3, "<end_of_utterance>", "vision_model.encoder", "connector", "text_model.layers"
    ),
    "llava": Architecture(
        *(
            _llava,
            "</s>",
            "vision_tower",
            "multi_modal_projector",
            "language_model",
            ".vision_model",
        ),
        unused=r"vision_model\.(encoder\.layers\.1|post_layernorm)\.",
    ),
    "llava_onevision": Architecture(
        *(
            _llava_onevision,
            "<|im_end|>",
            "vision_tower",
            "multi_modal_projector",
            "language_model",
            ".vision_model",
        ),
        unused=r"vision_model\.post_layernorm\.",
    ),
    "internvl": Architecture(
        _internvl, "<|im_end|>", "vision_tower", "multi_modal_projector", "language_model"
    ),
    "qwen2_vl": Architecture(
        _qwen2_vl, "<|im_end|>", "visual.blocks", "visual.merger", "layers.0.self_attn"
    ),
}
