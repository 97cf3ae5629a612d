"""Division of a student among processes (FSDP): its layers, number formats and checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import MixedPrecisionPolicy


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


def plugin_settings(model: torch.nn.Module, *, in_bf16: bool) -> dict[str, Any]:
    """Settings of accelerate's plugin that depend on the model.

    Gradients are summed in float32: accelerate would sum them in the format of the computation.
    """
    settings: dict[str, Any] = {"transformer_cls_names_to_wrap": layer_classes(model)}
    if in_bf16:
        settings["mixed_precision_policy"] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32
        )
    return settings


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
