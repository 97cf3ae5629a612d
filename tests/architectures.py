"""Checkpoints of all served architectures, with a few hundred thousand random weights each.

They share the bundled pair's byte-level BPE. Each has the template, the image tokens and the kind
of tiling of real checkpoints, on images of 28 to 84 pixels. A head is 32 wide, which vLLM's CPU
attention supports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.internvl2 import build_converted, save_converted
from tests.tiny import build_tiny

WIDTH, HEADS, MLP = 64, 2, 128
TILE, PATCH = 28, 7
"""Pixels: 4x4 patches a tile."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A small model; `vision`, `connector`, `language` are parts of its tensors' names on disk."""

    build: Callable[[], tuple[Any, Any]]
    """Makes model and processor."""
    end_of_turn: str
    vision: str
    connector: str
    language: str
    prefix: str = ""
    """Name behind `vision` in checkpoints from the hub; newer releases of transformers omit it."""
    unused: str = ""
    """Pattern of the tensors that no answer depends on."""
    saved: Callable[[Path, int], Path] | None = None
    """Writes a checkpoint that is not made by `build`."""

    def save(self, folder: Path, seed: int = 0) -> Path:
        """Writes weights, configuration, tokenizer, processor and chat template."""
        if self.saved:
            return self.saved(folder, seed)
        import torch
        from safetensors.torch import load_file, save_file
        from transformers import GenerationConfig

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


def _spread(model: Any) -> None:
    """Sets matrices at 1/sqrt(fan-in), embeddings at 1: answers depend on image and question."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)


def _keep_to_text(model: Any, tokenizer: Any) -> None:
    """Keeps the model from halves of characters, which engines show differently."""
    import torch

    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    halves = [
        token for token, text in enumerate(texts) if not (text.isascii() and text.isprintable())
    ]
    with torch.no_grad():
        model.get_output_embeddings().weight[halves] = 0.0


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


def _qwen2_5_vl() -> tuple[Any, Any]:
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


def _idefics3() -> tuple[Any, Any]:
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


def _llava() -> tuple[Any, Any]:
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


def _tinyllava() -> tuple[Any, Any]:
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


def _llava_onevision() -> tuple[Any, Any]:
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


def _internvl() -> tuple[Any, Any]:
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


ARCHITECTURES = {
    "qwen2_5_vl": Architecture(
        build=_qwen2_5_vl,
        end_of_turn="<|im_end|>",
        vision="visual.blocks",
        connector="visual.merger",
        language="layers.0.self_attn",
    ),
    "idefics3": Architecture(
        build=_idefics3,
        end_of_turn="<end_of_utterance>",
        vision="vision_model.encoder",
        connector="connector",
        language="text_model.layers",
    ),
    "llava": Architecture(
        build=_llava,
        end_of_turn="</s>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.(encoder\.layers\.1|post_layernorm)\.",
    ),
    "tinyllava": Architecture(
        build=_tinyllava,
        end_of_turn="<|endoftext|>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.post_layernorm\.",
    ),
    "llava_onevision": Architecture(
        build=_llava_onevision,
        end_of_turn="<|im_end|>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.post_layernorm\.",
    ),
    "internvl": Architecture(
        build=_internvl,
        end_of_turn="<|im_end|>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
    ),
    **{
        f"internvl2_{language}": Architecture(
            build=partial(build_converted, language),
            saved=partial(save_converted, language),
            end_of_turn=end_of_turn,
            vision="vision_tower",
            connector="multi_modal_projector",
            language="language_model",
        )
        for language, end_of_turn in (("internlm2", "<|im_end|>"), ("phi3", "<|end|>"))
    },
    "qwen2_vl": Architecture(
        build=build_tiny,
        end_of_turn="<|im_end|>",
        vision="visual.blocks",
        connector="visual.merger",
        language="layers.0.self_attn",
    ),
}
