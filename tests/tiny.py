"""A Qwen2-VL with random weights, small enough to run anywhere."""

from pathlib import Path

LAYERS = 2
VISION_DEPTH = 1


def build_tiny():
    """Model and processor."""
    from zoo.architecture import Size, build_model, build_processor

    size = Size(
        hidden=64,
        layers=LAYERS,
        heads=2,
        key_value_heads=1,
        mlp=128,
        vision_width=32,
        vision_depth=VISION_DEPTH,
    )
    processor = build_processor()
    return build_model(size, processor.tokenizer), processor


def save_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    import torch

    torch.manual_seed(seed)
    model, processor = build_tiny()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
