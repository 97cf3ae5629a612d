"""Figures of vLLM's scheduler for the metrics of the service."""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import PrometheusStatLogger

from services import metrics


class SchedulerFigures(PrometheusStatLogger):
    """Counts waits and steps. vLLM adds 100 metrics of its own unless it is given such a logger.

    Those cost time at every step, under names of one engine: a swap would begin them again.
    """

    def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
        """Registers none of vLLM's metrics."""

    def log_engine_initialized(self) -> None:
        """Logs nothing."""

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Counts one step of one copy of the model."""
        if scheduler_stats is not None:
            metrics.KV_CACHE_USED.labels(engine_idx).set(scheduler_stats.kv_cache_usage)
            if scheduler_stats.num_running_reqs:
                metrics.BATCH_SIZE.observe(scheduler_stats.num_running_reqs)
        if iteration_stats is not None:
            for seconds in iteration_stats.time_to_first_tokens_iter:
                metrics.FIRST_TOKEN_SECONDS.observe(seconds)
            for finished in iteration_stats.finished_requests:
                metrics.QUEUE_SECONDS.observe(finished.queued_time)

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """Counts nothing: our engines never sleep."""

    def record_admission_rejection(self, reason: str) -> None:
        """Counts nothing: the service itself refuses (load_shedding.py)."""
