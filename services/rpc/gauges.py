"""Gauges of a service, set when its metrics are read."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from services import metrics
from services.rpc.images import ImageReceiver
from services.rpc.load_shedding import LoadShedder


def watch(
    role: str,
    engine: str,
    is_ready: Callable[[], bool],
    shedder: LoadShedder,
    images: ImageReceiver,
) -> None:
    """Sets the gauges that both services have before each reading."""

    async def refresh() -> None:
        metrics.READY.set(is_ready())
        metrics.IN_FLIGHT.set(shedder.in_flight)
        metrics.CACHE_BYTES.set(images.cached_bytes)
        metrics.IMAGE_BYTES.set(images.memory_bytes)

    metrics.SERVICE.info({"role": role, "engine": engine, "release": release()})
    metrics.before_reading(refresh)


def release() -> str:
    """Version of this package; "unknown" if it is not installed."""
    try:
        return version("model-parity-aligner")
    except PackageNotFoundError:
        return "unknown"
