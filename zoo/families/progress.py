"""The state of a training in one small file: weights in float16, both moments of AdamW in bfloat16, 6 bytes a parameter.

Training goes on from what the file holds, also where it was not interrupted: so a run that is taken up again does the same as
one that never stopped. The price is a rounding at each checkpoint, of the weights to 11 bits, of the moments to 8.
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
        state = optimizer.state.get(parameter, {})  # empty for what no lesson has moved
        for moment in _MOMENTS:
            tensors[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter)).bfloat16()
    write_atomically(path, save(tensors, {"step": str(step), "seed": str(seed)}))


def load_progress(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> tuple[int, int]:
    """Fills model and optimiser; the steps that were done, and the seed."""
    with safe_open(path, "pt") as saved, torch.no_grad():
        step, seed = int(saved.metadata()["step"]), int(saved.metadata()["seed"])
        for name, parameter in model.named_parameters():
            parameter.copy_(saved.get_tensor(name))
            if optimizer is not None:
                moments = {
                    moment: saved.get_tensor(f"{name}.{moment}").float() for moment in _MOMENTS
                }
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step, seed
