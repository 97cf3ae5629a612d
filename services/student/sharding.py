"""FSDP of a student: its layers, number formats, and weights in this machine's memory."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy

from services.core.training_memory import MOMENTS
from services.engines.host_memory import machine_memory


def layer_classes(model: torch.nn.Module) -> list[str]:
    """Names of the classes of the layers that repeat: of tower, language model, mergers.

    Each layer is gathered alone. The list that transformers keeps (`_no_split_modules`) also names
    classes that a model does not have (LLaVA, LLaVA-OneVision), or only a part of a layer
    (Idefics3).
    """
    found: dict[str, None] = {}

    def search(module: torch.nn.Module) -> None:
        for child in module.children():
            if isinstance(child, torch.nn.ModuleList) and all(map(_is_layer, child)):
                found.update(dict.fromkeys(type(layer).__name__ for layer in child))
            else:
                search(child)

    search(model)
    return list(found)


def _is_layer(module: torch.nn.Module) -> bool:
    """Whether a module is more than one of torch's own (a list of projections, for example)."""
    return not type(module).__module__.startswith("torch.")


def plugin_settings(model: torch.nn.Module, *, in_bf16: bool, offload: bool) -> dict[str, Any]:
    """Settings of accelerate's plugin that depend on the model.

    Gradients are summed in float32: accelerate would sum them in the format of the computation.
    """
    settings: dict[str, Any] = {"transformer_cls_names_to_wrap": layer_classes(model)}
    if offload:
        settings["cpu_offload"] = CPUOffloadPolicy(pin_memory=can_pin(model, machine_memory()[0]))
    if in_bf16:
        settings["mixed_precision_policy"] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32
        )
    return settings


def can_pin(model: torch.nn.Module, free: int) -> bool:
    """Whether weights and gradients can be in pinned memory, of which `free` bytes are available.

    Transfers from and to pinned memory overlap the computation. torch rounds each tensor in it up
    to a power of two bytes; without it, an offloaded training needs less memory.
    """
    trained = [each for each in model.parameters() if each.requires_grad]
    moments = sum(MOMENTS * each.numel() for each in trained)
    pinned = [each.nbytes for each in (*model.parameters(), *trained)]
    if moments + sum(1 << (size - 1).bit_length() for size in pinned if size) > free:
        return False
    try:
        torch.empty(max(pinned), dtype=torch.uint8, pin_memory=True)
    except RuntimeError:  # no GPU, or a system that limits such memory
        return False
    return True


def shard_on_cpu(plugin_arguments: dict[str, Any]) -> bool:
    """Enable FSDP on CPUs: accelerate (1.15) silently ignores it there, but torch can do it.

    Returns whether the processes are on CPUs.
    """
    state = AcceleratorState()
    if state.distributed_type != DistributedType.MULTI_CPU:
        return False
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_arguments)
    return True
