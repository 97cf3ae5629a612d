"""The measured models: the bundled pair shows our overhead, 150M parameters are mostly compute.

    python -m benchmarks.checkpoints      (writes build/bench/150m, wide-teacher and wide-student)

qwen2vl-..  the hub's checkpoint, or one of its shape with random weights (shapes.py).
tiny        the smallest of the same architecture, for machines without a GPU.
150m        a randomly initialised Qwen2-VL. It never ends a reply, so replies have a fixed length.
wide-...    the bundled teacher and student, widened with zeros to the same cost. They answer as
            before: a pipeline needs readable annotations, which random weights don't write.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.folders import BUILD, ROOT
from benchmarks.shapes import TRUE_SHAPES, write_random
from services.core.errors import NotFound
from services.core.presets import PRESETS
from services.engines.checkpoint import resolve
from zoo.architecture import STUDENT, TEACHER, Size, build_model, build_processor

BUNDLED = {"teacher": ROOT / "zoo" / "teacher", "student": ROOT / "zoo" / "student"}
LARGE = Size(
    hidden=768, layers=18, heads=24, key_value_heads=12, mlp=2304, vision_width=384, vision_depth=12
)
SIZES = {"teacher": TEACHER, "student": STUDENT}


def checkpoint(model: str, role: str = "student") -> Path:
    """The folder of a model, built on first use."""
    if model in TRUE_SHAPES:
        return _published(model) or write_random(model, BUILD / model)
    if model == "bundled":
        return BUNDLED[role]
    folder = BUILD / "150m"
    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        processor = build_processor()
        _save(build_model(LARGE, processor.tokenizer), folder, processor)
    return folder


def _published(model: str) -> Path | None:
    """The hub's checkpoint if the hub or its local cache has it (HF_HUB_OFFLINE=1: the cache)."""
    preset = PRESETS.get(model)
    try:
        return resolve(preset.model) if preset else None
    except NotFound:
        return None


def answering_checkpoint(model: str, role: str) -> Path:
    """Like `checkpoint`, for a model that answers as the bundled one does."""
    if model == "bundled":
        return BUNDLED[role]
    folder = BUILD / f"wide-{role}"
    if not (folder / "config.json").is_file():
        processor = AutoProcessor.from_pretrained(BUNDLED[role])
        narrow = AutoModelForImageTextToText.from_pretrained(BUNDLED[role], dtype="float32")
        _save(widen(narrow, SIZES[role], processor), folder, processor)
    return folder


def widen(narrow: Any, size: Size, processor: Any) -> Any:
    """A model with LARGE's language model that computes the function of `narrow`.

    New parts of each matrix are zero, and new layers write nothing. A root mean square over hidden
    states that are mostly zeros is smaller by sqrt(share), so the norms' weights shrink, too. The
    vision tower keeps its size: layer norms subtract a mean, which zeros would move.
    """
    groups = size.heads // size.key_value_heads
    heads, layers = LARGE.heads, LARGE.layers
    wide_size = Size(
        LARGE.hidden,
        layers,
        heads,
        heads // groups,
        LARGE.mlp,
        size.vision_width,
        size.vision_depth,
    )
    torch.manual_seed(0)
    wide = build_model(wide_size, processor.tokenizer)
    share = (size.hidden / LARGE.hidden) ** 0.5
    own = narrow.state_dict()
    new = wide.state_dict()
    for name, tensor in new.items():
        is_new_layer = name not in own
        if is_new_layer and not name.endswith(("o_proj.weight", "down_proj.weight")):
            continue
        filled = torch.zeros_like(tensor)
        if not is_new_layer:
            filled[tuple(slice(0, length) for length in own[name].shape)] = own[name]
            if "norm" in name and "visual" not in name:
                filled *= share
        new[name] = filled
    wide.load_state_dict(new)
    return wide


def _save(model: Any, folder: Path, processor: Any) -> None:
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside)
    processor.save_pretrained(beside)
    beside.rename(folder)


def parameters(folder: Path) -> int:
    """Number of parameters of a checkpoint."""
    return sum(
        parameter.numel()
        for parameter in AutoModelForImageTextToText.from_pretrained(folder).parameters()
    )


def main() -> None:
    for folder in (checkpoint("150m"), *(answering_checkpoint("150m", role) for role in BUNDLED)):
        print(f"{folder.relative_to(ROOT)}: {parameters(folder) / 1e6:.0f}M parameters")


if __name__ == "__main__":
    main()
