"""State of a training in one small file of 6 bytes per parameter.

Weights are in float16, both moments of AdamW in bfloat16. Training continues from the file even if
it was not interrupted, so a resumed run equals one that never stopped. The price is a rounding at
each checkpoint, of the weights to 11 bits and of the moments to 8 bits.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from services.files import write_atomically

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_progress(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seed: int
) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[name] = parameter.detach().half()
        state = optimizer.state.get(parameter, {})  # empty if no lesson has moved the parameter
        for moment in _MOMENTS:
            tensors[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter)).bfloat16()
    write_atomically(path, save(tensors, {"step": str(step), "seed": str(seed)}))


def load_progress(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> tuple[int, int]:
    """Fill model and optimiser; return the number of steps and the seed."""
    with safe_open(path, "pt") as saved, torch.no_grad():
        metadata = saved.metadata()
        step = int(metadata["step"])
        for name, parameter in model.named_parameters():
            parameter.copy_(saved.get_tensor(name))
            if optimizer is not None:
                moments = {
                    moment: saved.get_tensor(f"{name}.{moment}").float() for moment in _MOMENTS
                }
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step, int(metadata["seed"])
