"""Memory of a vLLM engine: weights, KV cache and the engine's own processes."""

from __future__ import annotations

from pathlib import Path

from services.engines import weights
from services.engines.settings import EngineSettings

GIB = 2**30
_CPU_KV_CACHE_GIB = 1.0
_CPU_PROCESSES_GIB = 1.0


def kv_cache_bytes(settings: EngineSettings, on_cpu: bool) -> int:
    """Fixed size of the KV cache; 0 leaves it to vLLM, which fills its share of a GPU."""
    return int((settings.kv_cache_gib or (_CPU_KV_CACHE_GIB if on_cpu else 0.0)) * GIB)


def memory_bytes(folder: Path, settings: EngineSettings, gpu_bytes: int | None) -> int:
    """Bytes on each device. `gpu_bytes`: total memory of a GPU, None on a CPU."""
    on_cpu = gpu_bytes is None
    cache = kv_cache_bytes(settings, on_cpu)
    if gpu_bytes is not None and not cache:
        return int(settings.memory_share * gpu_bytes)
    processes = int(_CPU_PROCESSES_GIB * GIB) if on_cpu else 0
    one = weights.memory_bytes(folder, settings, gpu_bytes) + cache + processes
    return one * settings.data_parallel if on_cpu else one
