"""Memory of the device on which torch runs a model: how much is free, that it ran out, its end."""

from __future__ import annotations

from typing import Any

import torch

from services.core.errors import EngineFailed
from services.core.memory import Dimensions
from services.engines.dimensions import dimensions
from services.engines.host_memory import machine_memory
from services.engines.token_budget import (
    FREE_SHARE,
    UNLIMITED,
    bytes_of_token,
    tokens_of_logits,
)

_SIGNS_OF_NO_MEMORY = (
    "can't allocate memory",
    "bad_alloc",
    "out of memory",
    "_STATUS_ALLOC_FAILED",
    "can't start new thread",
)
"""Texts of errors of torch on a CPU, of CUDA and NCCL, of cuBLAS and its kin, and of Python."""
_NO_PRIMITIVE = "could not create a primitive"
"""The whole text of oneDNN's error if there is no memory for its code or its scratch space."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, or this machine, had no memory for a tensor."""
    text = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or text == _NO_PRIMITIVE
        or any(sign in text for sign in _SIGNS_OF_NO_MEMORY)
    )


def out_of_memory(tokens: int) -> EngineFailed:
    """Error of a request with so many tokens that takes more memory than there is, even alone."""
    return EngineFailed(
        f"the engine ran out of memory on this request of {tokens} tokens: "
        "send a smaller image or ask for a shorter reply",
        reason="OUT_OF_MEMORY",
    )


def tokens_that_fit(model: Any) -> int:
    """Tokens of a batch that fit into the memory that is free next to a loaded model."""
    device = model.device
    free, _ = torch.cuda.mem_get_info(device) if device.type == "cuda" else machine_memory()
    shape = _shape(model)
    if shape is None:
        return UNLIMITED
    return int(FREE_SHARE * free) // bytes_of_token(shape, model.dtype.itemsize)


def logits_in_tokens(model: Any) -> int:
    """Tokens of a batch that take as much memory as the logits of one token."""
    shape = _shape(model)
    return tokens_of_logits(shape, model.dtype.itemsize) if shape else 1


def _shape(model: Any) -> Dimensions | None:
    """Dimensions of a loaded model; None: remote code may name them differently."""
    try:
        return dimensions(model.config, parameters=0)
    except AttributeError:
        return None


def empty_cache() -> None:
    """Returns memory that the allocator holds back to the GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def give_back(model: Any) -> None:
    """Frees a model's memory, whoever still holds the model: no collection of garbage is needed."""
    model.to("meta")
    empty_cache()
