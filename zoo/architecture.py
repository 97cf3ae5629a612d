"""Parts of the pair: a byte-level BPE, a chat template, a processor and two sizes of Qwen2-VL.

All are saved with the weights, so transformers and vLLM load the folders like any Qwen2-VL
checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from services.core.tasks import TASKS, answer_prompt
from zoo.shapes import COLORS, SHAPES, list_questions

VOCABULARY_SIZE = 1024
"""Largest vocabulary: the corpus runs out of merges a little earlier."""
TOKENIZED_TASKS = ("textvqa", "stvqa", "chartqa", "okvqa", "vqa")
"""Tasks whose prompts were in the tokenizer's corpus.

Later tasks are not: the pair's tokens would change.
"""
CONTEXT_LENGTH = 2048
IMAGE_SIDE = 84
PATCH = 14
"""Pixels: 6x6 patches, merged two by two into 9 visual tokens."""
MERGE = 2
"""Patches per side of a visual token."""
CAPTION_PROMPT = "Describe the image."
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAD = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
MARKS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True, slots=True)
class Size:
    """Widths and depths of one model.

    Every attention head is 32 wide, which vLLM's CPU attention supports.
    """

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    mlp: int
    vision_width: int
    vision_depth: int
    patch: int = PATCH


TEACHER = Size(
    hidden=192, layers=4, heads=6, key_value_heads=3, mlp=512, vision_width=128, vision_depth=3
)
STUDENT = Size(
    hidden=128, layers=4, heads=4, key_value_heads=2, mlp=384, vision_width=96, vision_depth=3
)


def build_tokenizer() -> Qwen2Tokenizer:
    """A BPE of the pair's prompts, questions and answers, and of the prompts of TOKENIZED_TASKS."""
    captions = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    answers = ["yes", "no", *COLORS, *SHAPES]
    replies = [
        f"Question: {question}\nAnswer: {answer}"
        for question in list_questions()
        for answer in answers
    ]
    prompts = [answer_prompt(question) for question in list_questions()]
    often = [*replies, *20 * prompts, *100 * [CAPTION_PROMPT, *captions, *answers]]
    corpus = [
        *often,
        *20 * ["user\n", "assistant\n"],
        *20 * [TASKS[task].annotation_prompt for task in TOKENIZED_TASKS],
    ]
    blank = Qwen2Tokenizer()
    marks = [END_OF_TURN, *MARKS]
    tokenizer: Qwen2Tokenizer = blank.train_new_from_iterator(
        corpus, VOCABULARY_SIZE, new_special_tokens=marks, show_progress=False
    )
    tokenizer.eos_token = END_OF_TURN
    tokenizer.pad_token = PAD
    tokenizer.model_max_length = CONTEXT_LENGTH
    return tokenizer


def build_processor(
    tokenizer: PreTrainedTokenizerFast | None = None, side: int = IMAGE_SIDE, patch: int = PATCH
) -> Qwen2VLProcessor:
    """Tokenizer (by default the pair's), image and video processor.

    A square image becomes `side` x `side` pixels.
    """
    pixels = {"shortest_edge": side**2, "longest_edge": side**2}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels, patch_size=patch),
        tokenizer=tokenizer or build_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(size=pixels, patch_size=patch),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(size: Size, tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """An untrained model of this size, from torch's global random generator."""
    token_id: dict[str, Any] = {
        token: tokenizer.convert_tokens_to_ids(token) for token in (PAD, END_OF_TURN, *MARKS)
    }
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": size.mlp,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "max_position_embeddings": CONTEXT_LENGTH,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": None,
            "eos_token_id": token_id[END_OF_TURN],
            "pad_token_id": token_id[PAD],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": size.vision_depth,
            "embed_dim": size.vision_width,
            "num_heads": size.vision_width // 32,
            "hidden_size": size.hidden,
            "mlp_ratio": 4,
            "patch_size": size.patch,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
    )
    model = Qwen2VLForConditionalGeneration(config)
    initialise(model)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=token_id[END_OF_TURN],
        pad_token_id=token_id[PAD],
        max_new_tokens=64,
    )
    return model


def initialise(model: torch.nn.Module) -> None:
    """Draw matrices at 1/sqrt(fan-in), also the patch embedding.

    The usual 0.02 stalls towers as narrow as these.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
