"""Checkpoints of all served architectures, with a few hundred thousand random weights each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.architecture_models import (
    build_idefics3,
    build_internvl,
    build_llava,
    build_llava_onevision,
    build_qwen2_5_vl,
    build_tinyllava,
)
from tests.internvl2 import build_converted, save_converted
from tests.tiny import build_tiny


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


ARCHITECTURES = {
    "qwen2_5_vl": Architecture(
        build=build_qwen2_5_vl,
        end_of_turn="<|im_end|>",
        vision="visual.blocks",
        connector="visual.merger",
        language="layers.0.self_attn",
    ),
    "idefics3": Architecture(
        build=build_idefics3,
        end_of_turn="<end_of_utterance>",
        vision="vision_model.encoder",
        connector="connector",
        language="text_model.layers",
    ),
    "llava": Architecture(
        build=build_llava,
        end_of_turn="</s>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.(encoder\.layers\.1|post_layernorm)\.",
    ),
    "tinyllava": Architecture(
        build=build_tinyllava,
        end_of_turn="<|endoftext|>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.post_layernorm\.",
    ),
    "llava_onevision": Architecture(
        build=build_llava_onevision,
        end_of_turn="<|im_end|>",
        vision="vision_tower",
        connector="multi_modal_projector",
        language="language_model",
        prefix=".vision_model",
        unused=r"vision_model\.post_layernorm\.",
    ),
    "internvl": Architecture(
        build=build_internvl,
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
