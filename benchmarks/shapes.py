"""Checkpoints of true shapes with random weights: Qwen2-VL as published, without the hub.

The vocabulary is whole, too. Words of the bundled pair's tokenizer keep their ids, filler words
take the others, and the marks have the ids that Qwen2-VL gives them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from zoo.architecture import CHAT_TEMPLATE, END_OF_TURN, MERGE, PAD, PATCH, build_tokenizer

WORDS = 151_643
"""Tokens before the first mark."""
MARKS = (
    PAD,
    "<|im_start|>",
    END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
WINDOW = 32_768
SHARD = "4GB"
BUDGET = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
"""Pixels of an image in the processor; a preset replaces them."""


@dataclass(frozen=True, slots=True)
class TrueShape:
    """Widths and depths of a Qwen2-VL."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    is_tied: bool
    """Whether input and output embeddings are one matrix."""
    vision_width: int = 1280
    vision_depth: int = 32
    vision_heads: int = 16


TRUE_SHAPES = {
    "qwen2vl-7b": TrueShape(3584, 18944, 28, 28, 4, 152_064, is_tied=False),
    "qwen2vl-2b": TrueShape(1536, 8960, 28, 12, 2, 151_936, is_tied=True),
    "tiny-teacher": TrueShape(96, 192, 2, 3, 1, 152_064, False, 64, 2, 2),
    "tiny": TrueShape(64, 128, 2, 2, 1, 151_936, True, 64, 2, 2),
}
"""By name: two models of the paper, and two for machines without a GPU."""


def write_random(name: str, folder: Path) -> Path:
    """Writes a checkpoint in bfloat16, drawn on the GPU if there is one; whole or not at all."""
    if (folder / "config.json").is_file():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    torch.manual_seed(0)
    processor = whole_processor()
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2VLForConditionalGeneration._from_config(
            config_of(TRUE_SHAPES[name]), dtype=torch.bfloat16
        )
    ends = processor.tokenizer.convert_tokens_to_ids([END_OF_TURN, PAD])
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=ends[1]
    )
    model.save_pretrained(partial, max_shard_size=SHARD)
    processor.save_pretrained(partial)
    partial.rename(folder)
    return folder


def config_of(shape: TrueShape) -> Qwen2VLConfig:
    """The configuration. Rotary sections are 2, 3 and 3 eighths of half a head, as published."""
    half_head = shape.hidden // shape.heads // 2
    mark = {name: WORDS + number for number, name in enumerate(MARKS)}
    return Qwen2VLConfig(
        text_config={
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "max_position_embeddings": WINDOW,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": [half_head // 8 * eighths for eighths in (2, 3, 3)],
            },
            "bos_token_id": None,
            "eos_token_id": mark[END_OF_TURN],
            "pad_token_id": mark[PAD],
            "tie_word_embeddings": shape.is_tied,
        },
        vision_config={
            "depth": shape.vision_depth,
            "embed_dim": shape.vision_width,
            "num_heads": shape.vision_heads,
            "hidden_size": shape.hidden,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=shape.is_tied,
        image_token_id=mark["<|image_pad|>"],
        video_token_id=mark["<|video_pad|>"],
        vision_start_token_id=mark["<|vision_start|>"],
        vision_end_token_id=mark["<|vision_end|>"],
    )


def whole_processor() -> Qwen2VLProcessor:
    """Tokenizer of the whole vocabulary, image and video processor."""
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=BUDGET, patch_size=PATCH),
        tokenizer=whole_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(size=BUDGET, patch_size=PATCH),
        chat_template=CHAT_TEMPLATE,
    )


def whole_tokenizer() -> Qwen2Tokenizer:
    """WORDS words, then MARKS. No text reaches a filler word; random weights write them."""
    bpe = json.loads(build_tokenizer().backend_tokenizer.to_str())["model"]
    words = [
        word
        for word, _ in sorted(bpe["vocab"].items(), key=lambda item: item[1])
        if word not in MARKS
    ]
    fillers = (f"Ġ{number}z" for number in range(WORDS))
    vocabulary = {word: number for number, word in enumerate(words)}
    for filler in fillers:
        if len(vocabulary) == WORDS:
            break
        vocabulary.setdefault(filler, len(vocabulary))
    merges: Any = [tuple(pair) for pair in bpe["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_tokens([AddedToken(mark, special=True) for mark in MARKS])
    tokenizer.eos_token = END_OF_TURN
    tokenizer.pad_token = PAD
    tokenizer.model_max_length = WINDOW
    return tokenizer
