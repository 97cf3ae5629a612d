"""Parts of a tiny Idefics3: marks, chat template, processor and model, like SmolVLM's.

All are saved with the weights, so transformers and vLLM load the folders like any Idefics3
checkpoint. An image is one square, never split into tiles.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from zoo.architecture import CONTEXT_LENGTH, MERGE, PAD, Size, initialise

IMAGE_SIDE = 128
PATCH = 8
"""Pixels: 16x16 patches, merged two by two into 64 visual tokens.

Sixteenths are exact in bfloat16. Positions are rounded quotients: 14x14 patches would be confused.
"""
END_OF_TURN = "<end_of_utterance>"
MARKS = ("<|im_start|>", "<fake_token_around_image>", "<image>", "<global-img>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type in ('image', 'image_url') %}<image>"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(
    tokenizer: PreTrainedTokenizerFast, side: int = IMAGE_SIDE, patch: int = PATCH
) -> Idefics3Processor:
    """Tokenizer and image processor. An image becomes `side` x `side` pixels."""
    edge = {"longest_edge": side}
    return Idefics3Processor(
        Idefics3ImageProcessor(
            size=edge,
            max_image_size=edge,
            do_image_splitting=False,
            image_mean=OPENAI_CLIP_MEAN,
            image_std=OPENAI_CLIP_STD,
        ),
        tokenizer,
        image_seq_len=(side // patch // MERGE) ** 2,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(size: Size, tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    """An untrained model of this size, from torch's global random generator."""
    token_id: dict[str, Any] = {
        token: tokenizer.convert_tokens_to_ids(token) for token in (PAD, END_OF_TURN, "<image>")
    }
    pad, end = token_id[PAD], token_id[END_OF_TURN]
    config = Idefics3Config(
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": size.mlp,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "max_position_embeddings": CONTEXT_LENGTH,
            "rms_norm_eps": 1e-5,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
            "tie_word_embeddings": True,
        },
        vision_config={
            "hidden_size": size.vision_width,
            "intermediate_size": 4 * size.vision_width,
            "num_hidden_layers": size.vision_depth,
            "num_attention_heads": size.vision_width // 32,
            "image_size": IMAGE_SIDE,
            "patch_size": size.patch,
        },
        scale_factor=MERGE,
        tie_word_embeddings=True,
        image_token_id=token_id["<image>"],
        pad_token_id=pad,
    )
    model = Idefics3ForConditionalGeneration(config)
    initialise(model)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=end, pad_token_id=pad, max_new_tokens=64
    )
    return model
