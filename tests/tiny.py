"""A Qwen2-VL with random weights, small enough to run anywhere: what a checkpoint does, not what it knows."""

from pathlib import Path

import torch

from zoo.architecture import Size, build_model, build_processor

SIZE = Size(
    hidden=64, layers=2, heads=2, key_value_heads=1, mlp=128, vision_width=32, vision_depth=1
)


def save_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    processor = build_processor()
    build_model(SIZE, processor.tokenizer).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
