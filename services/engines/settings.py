"""How a service runs its models."""

from __future__ import annotations

from dataclasses import dataclass

from services.environment import Environment


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`device` "" takes a GPU if there is one; `dtype` "auto" is the checkpoint's own on a GPU, float32 elsewhere; `threads` 0
    leaves the number of CPU threads to torch (two processes that use all cores each slow one another down badly).

    `max_batch` prompts are computed at a time, `max_waiting` may wait. `max_lora_rank` 0 serves no adapters, else up to
    `max_loras` beside the base. `trust_remote_code` runs Python code that comes with a checkpoint.

    An engine that makes no progress for `watchdog_s` seconds while requests wait is asked a canary; if that is not answered
    within as long again, the engine is dead. 0 watches nothing.

    For vLLM: `tensor_parallel` devices hold one model, `memory_share` of each is taken (or `kv_cache_gib` for the KV cache,
    whatever else there is), `max_model_len` 0 is the checkpoint's own window.
    """

    engine: str = "transformers"
    device: str = ""
    dtype: str = "auto"
    threads: int = 0
    max_batch: int = 64
    max_waiting: int = 4096
    max_lora_rank: int = 0
    max_loras: int = 4
    trust_remote_code: bool = False
    tensor_parallel: int = 1
    memory_share: float = 0.9
    kv_cache_gib: float = 0.0
    max_model_len: int = 0
    watchdog_s: float = 120.0

    @staticmethod
    def from_environment(env: Environment) -> EngineSettings:
        """From MPA_*_ENGINE, _DEVICE, _DTYPE and so on. Raises InvalidInput, naming the variable that is wrong."""
        return EngineSettings(
            engine=env.text("ENGINE", "transformers"),
            device=env.text("DEVICE"),
            dtype=env.text("DTYPE", "auto"),
            threads=env.integer("THREADS", 0),
            max_batch=env.integer("MAX_BATCH", 64),
            max_lora_rank=env.integer("MAX_LORA_RANK", 0),
            max_loras=env.integer("MAX_LORAS", 4),
            trust_remote_code=env.flag("TRUST_REMOTE_CODE"),
            tensor_parallel=env.integer("TENSOR_PARALLEL", 1),
            memory_share=env.number("MEMORY_SHARE", 0.9),
            kv_cache_gib=env.number("KV_CACHE_GIB", 0.0),
            max_model_len=env.integer("MAX_MODEL_LEN", 0),
            watchdog_s=env.number("WATCHDOG_S", 120.0),
        )
