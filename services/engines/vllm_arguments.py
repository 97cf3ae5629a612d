"""Arguments for vLLM: at its start, and for each request."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from vllm.config import ModelConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services import tracing
from services.core.errors import InvalidInput
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from services.engines.vllm_memory import kv_cache_bytes

_MOST_THREADS = 8
"""Threads that a resized image can use; idle ones spin and slow down the engine's own process."""


class ConfiguredModel(ModelConfig):
    """A model that vLLM knows by its configuration, wherever its weights are.

    vLLM keeps compiled graphs by this hash, with the folder in it: every version of a student would
    be compiled again, for minutes, although only the weights differ.
    """

    def compute_hash(self) -> str:
        anywhere = copy.copy(self)
        anywhere.model = ""
        return str(ModelConfig.compute_hash(anywhere))


class VersionArguments(AsyncEngineArgs):
    """Start arguments of an engine for one of several versions of a model."""

    def create_model_config(self) -> ModelConfig:
        config = super().create_model_config()
        config.__class__ = ConfiguredModel
        return config


def processing_threads(settings: EngineSettings) -> int:
    """Threads that process images in the service, next to vLLM's own processes on a GPU."""
    return settings.threads or max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def start_arguments(folder: Path, settings: EngineSettings) -> VersionArguments:
    """Arguments of an engine on this machine. Its threads are set in this process."""
    on_cpu = current_platform.is_cpu()
    if not on_cpu:
        # In vLLM's own processes threads would only wait, and spin: it has one in each.
        torch.set_num_threads(processing_threads(settings))
    elif settings.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    return VersionArguments(**engine_arguments(folder, settings, on_cpu=on_cpu))


def engine_arguments(folder: Path, settings: EngineSettings, *, on_cpu: bool) -> dict[str, Any]:
    """Start arguments. On a CPU the dtype is float32 and the KV cache has a fixed size."""
    cache_bytes = kv_cache_bytes(settings, on_cpu)
    window = {"max_model_len": settings.max_model_len} if settings.max_model_len else {}
    cache = {"kv_cache_memory_bytes": cache_bytes} if cache_bytes else {}
    prefill: dict[str, Any] = {}
    if on_cpu:
        # A seeded request whose prompt is taken in several chunks kills vLLM's CPU engine, which
        # can't reset its random generator. A step then takes the window, or more.
        prefill = {"enable_chunked_prefill": False}
    elif settings.batch_tokens:
        prefill = {"max_num_batched_tokens": settings.batch_tokens}
    lora: dict[str, Any] = {}
    if settings.max_lora_rank:
        # Adapters also change the vision tower and the connector, which close much of the gap.
        lora = {
            "enable_lora": True,
            "max_lora_rank": settings.max_lora_rank,
            "max_loras": settings.max_loras,
            "enable_tower_connector_lora": True,
        }
    return {
        "model": str(folder),
        "dtype": "float32" if on_cpu and settings.dtype == "auto" else settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "data_parallel_size": settings.data_parallel,
        "gpu_memory_utilization": settings.memory_share,
        "max_num_seqs": settings.most_at_once(in_vllm_on_gpu=not on_cpu),
        "enforce_eager": on_cpu,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "trust_remote_code": settings.trust_remote_code,
        "disable_log_stats": True,
        **({"otlp_traces_endpoint": tracing.endpoint()} if tracing.endpoint() else {}),
        **window,
        **prefill,
        **cache,
        **lora,
    }


def sampling(prompt: Prompt, end_of_turn: int) -> SamplingParams:
    """Request arguments from the prompt's decoding alone, without the checkpoint's defaults.

    Raises InvalidInput: vLLM does not take them (a temperature of 9).
    """
    decoding = prompt.decoding
    guide = (
        {"structured_outputs": StructuredOutputsParams(regex=prompt.pattern)}
        if prompt.pattern
        else {}
    )
    try:
        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            seed=decoding.seed % 2**63 if decoding.temperature > 0 else None,
            stop_token_ids=[end_of_turn],
            logprobs=(prompt.alternatives or 0) if prompt.scored else None,
            output_kind=(
                RequestOutputKind.CUMULATIVE if prompt.heard else RequestOutputKind.FINAL_ONLY
            ),
            **guide,
        )
    except (VLLMClientError, ValueError) as error:
        raise InvalidInput(
            f"the engine can't take this request: {error}", field="decoding"
        ) from error
