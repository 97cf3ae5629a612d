"""Arguments for vLLM: at its start, and for each request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from services.engines.vllm_memory import kv_cache_bytes


def engine_arguments(folder: Path, settings: EngineSettings) -> dict[str, Any]:
    """Start arguments. On a CPU the dtype is float32 and the KV cache has a fixed size."""
    on_cpu = current_platform.is_cpu()
    cache_bytes = kv_cache_bytes(settings, on_cpu)
    window = {"max_model_len": settings.max_model_len} if settings.max_model_len else {}
    cache = {"kv_cache_memory_bytes": cache_bytes} if cache_bytes else {}
    # A seeded request whose prompt is taken in several chunks kills vLLM's CPU engine, which can't
    # reset its random generator.
    prefill = {"enable_chunked_prefill": False} if on_cpu else {}
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
        "max_num_seqs": settings.max_batch,
        "enforce_eager": on_cpu,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "trust_remote_code": settings.trust_remote_code,
        "disable_log_stats": True,
        **window,
        **prefill,
        **cache,
        **lora,
    }


def sampling(prompt: Prompt, end_of_turn: int) -> SamplingParams:
    """Request arguments from the prompt's decoding alone, without the checkpoint's defaults."""
    decoding = prompt.decoding
    guide = (
        {"structured_outputs": StructuredOutputsParams(regex=prompt.pattern)}
        if prompt.pattern
        else {}
    )
    return SamplingParams(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_tokens=decoding.max_new_tokens,
        seed=decoding.seed % 2**63 if decoding.temperature > 0 else None,
        stop_token_ids=[end_of_turn],
        logprobs=0 if prompt.scored else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **guide,
    )
