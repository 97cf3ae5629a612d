"""Settings for the engine that runs a service's models."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.environment import Environment

STUDENTS_SHARE = 0.4
"""Share of a GPU for one version of the student: the next one fits next to it."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Engine settings, read from MPA_*_ENGINE, _DEVICE, _DTYPE and so on."""

    engine: str = "transformers"
    """Name of an engine in loading.py, or "openai" for a teacher."""
    device: str = ""
    """Device of the model; "" takes a GPU if there is one."""
    dtype: str = "auto"
    """Precision; "auto" is the checkpoint's own on a GPU, float32 on a CPU."""
    threads: int = 0
    """CPU threads; 0 leaves them to the engine. Two processes on all cores slow each other down."""
    max_batch: int = 0
    """Prompts that are computed at the same time; 0: 256 in vLLM on a GPU, elsewhere 64."""
    batch_tokens: int = 0
    """Tokens that are computed at the same time; 0 leaves them to the engine.

    vLLM: prompt tokens of one step. transformers: tokens of a batch, padding and replies included.
    """
    max_waiting: int = 4096
    """Prompts that may wait."""
    max_lora_rank: int = 0
    """Highest rank of an adapter; 0 serves no adapters."""
    max_loras: int = 4
    """Adapters that may be loaded next to the base."""
    trust_remote_code: bool = False
    """Whether Python code that comes with a checkpoint may run."""
    tensor_parallel: int = 1
    """Devices that share one model (vLLM only, like the next four)."""
    data_parallel: int = 1
    """Copies of one model, each on `tensor_parallel` devices of its own."""
    memory_share: float = 0.9
    """Share of each device's memory that the engine takes."""
    kv_cache_gib: float = 0.0
    """GiB of the KV cache; if set, it replaces `memory_share`."""
    max_model_len: int = 0
    """Window in tokens; 0 is the checkpoint's own."""
    watchdog_s: float = 120.0
    """Seconds without progress, while requests wait, after which a canary is asked; 0: never.

    The engine is dead if the canary has no answer after as many seconds again.
    """

    @property
    def gpus(self) -> int:
        """GPUs that one engine takes."""
        return self.tensor_parallel * self.data_parallel

    def most_at_once(self, in_vllm_on_gpu: bool = False) -> int:
        """Prompts that are computed at the same time."""
        return self.max_batch or (256 if in_vllm_on_gpu else 64)

    @staticmethod
    def from_environment(env: Environment, role: str = "") -> EngineSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        usual = (
            EngineSettings(memory_share=STUDENTS_SHARE) if role == "student" else EngineSettings()
        )
        settings = EngineSettings(
            engine=env.text("ENGINE", usual.engine),
            device=env.text("DEVICE"),
            dtype=env.text("DTYPE", usual.dtype),
            threads=env.integer("THREADS", usual.threads),
            max_batch=env.integer("MAX_BATCH", usual.max_batch),
            batch_tokens=env.integer("BATCH_TOKENS", usual.batch_tokens),
            max_lora_rank=env.integer("MAX_LORA_RANK", usual.max_lora_rank),
            max_loras=env.integer("MAX_LORAS", usual.max_loras),
            trust_remote_code=env.flag("TRUST_REMOTE_CODE"),
            tensor_parallel=env.integer("TENSOR_PARALLEL", usual.tensor_parallel),
            data_parallel=env.integer("DATA_PARALLEL", usual.data_parallel),
            memory_share=env.number("MEMORY_SHARE", usual.memory_share),
            kv_cache_gib=env.number("KV_CACHE_GIB", usual.kv_cache_gib),
            max_model_len=env.integer("MAX_MODEL_LEN", usual.max_model_len),
            watchdog_s=env.number("WATCHDOG_S", usual.watchdog_s),
        )
        settings._require_valid_copies(env.prefix)
        return settings

    def _require_valid_copies(self, prefix: str) -> None:
        variable = f"{prefix}DATA_PARALLEL"
        if self.data_parallel < 1:
            raise InvalidInput(
                f"{variable} is {self.data_parallel}: give 1 or more", field=variable
            )
        if self.data_parallel > 1 and self.engine != "vllm":
            raise InvalidInput(
                f"{variable} is {self.data_parallel}, but the {self.engine} engine holds one copy "
                f"of a model: set {prefix}ENGINE=vllm, or start one service for each GPU "
                "(docs/services.md, replicas)",
                field=variable,
            )
