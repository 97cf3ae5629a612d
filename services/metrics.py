"""Metrics of a service: one vocabulary for HTTP and gRPC, engine, versions and trainings.

docs/operations.md explains every name; a test compares the two. The value of a label is a constant
of this code or a name that the service itself gave. Nothing that a caller wrote becomes one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.core.errors import MpaError, Overloaded
from services.core.usage import Usage

_log = logging.getLogger(__name__)
CONTENT_TYPE = CONTENT_TYPE_LATEST
HTTP, GRPC = "http", "grpc"
OTHER = "OTHER"
REGISTRY = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LONG_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_NOISES = (0.1, 0.25, 0.5, 1, 1.5, 3, 10, 30, 100)
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_MOST_REASONS = 100
PROCESS = ProcessCollector(registry=REGISTRY)
# BentoML asks for values in files that several processes share: slow, and the first new value on a
# full disk would end the process. Ours are of this process alone.
values.ValueClass = values.MutexValue


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"mpa_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"mpa_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"mpa_{name}", text, labels, buckets=buckets, registry=REGISTRY)


SERVICE = Info("mpa_service", "Role, engine and release of the service", registry=REGISTRY)
READY = _gauge("ready", "Whether the service is ready: its model is loaded and alive")
ENGINE_DEATHS = _counter("engine_deaths", "Engines that died by themselves")

REQUESTS = _counter(
    "requests", "Requests and items of streams by outcome", "protocol", "method", "code"
)
REQUEST_SECONDS = _histogram(
    "request_seconds", "Seconds from a request to its reply", _SECONDS, "protocol", "method"
)
ERRORS = _counter("errors", "Failed requests by the reason in their reply", "protocol", "reason")
LIMITS_HIT = _counter("limits_hit", "Requests refused because a limit was reached", "limit")
IN_FLIGHT = _gauge("requests_in_flight", "Requests that are admitted and not answered yet")

QUEUE_SECONDS = _histogram(
    "queue_seconds", "Seconds that a prompt waits for the engine to begin with it", _SECONDS
)
FIRST_TOKEN_SECONDS = _histogram(
    "first_token_seconds", "Seconds from a prompt to the first token of its reply (vLLM)", _SECONDS
)
KV_CACHE_USED = _gauge(
    "kv_cache_used", "Used share of vLLM's KV cache, at the last step of each copy", "copy"
)
BATCH_SIZE = _histogram("batch_size", "Prompts that the engine computes together", _SIZES)
TOKENS = _counter("tokens", "Tokens of answered requests", "kind")

IMAGES_DECODED = _counter("images_decoded", "Image files that were decoded")
CACHE_LOOKUPS = _counter(
    "image_cache_lookups", "Images looked up in the cache of recent images", "result"
)
CACHE_HITS, CACHE_MISSES = CACHE_LOOKUPS.labels("hit"), CACHE_LOOKUPS.labels("miss")
CACHE_BYTES = _gauge("image_cache_bytes", "Bytes in the cache of recent images")
IMAGE_BYTES = _gauge("image_memory_bytes", "Bytes of all images in memory")

VERSIONS_LOADED = _gauge("versions_loaded", "Versions in memory")
POINTERS = Info("mpa_pointer", "Version of each pointer", ["pointer"], registry=REGISTRY)
FOLLOWERS = _gauge("followers", "Followers of the store by state", "state")
SWAPS = _counter("swaps", "Swaps of the live version", "way", "result")
SWAP_SECONDS = _histogram(
    "swap_seconds", "Seconds from the plan of a swap to its end", _LONG_SECONDS, "way"
)
CANARY_CHECKS = _counter("canary_checks", "Checks of loaded versions by their canaries", "result")
CANARY_DIFFERENCE = _histogram(
    "canary_difference_noises", "Differences of canaries' scores, in noises", _NOISES
)

TRAINING = _gauge("training_running", "Whether a training is under way")
TRAINING_STEP = _gauge("training_step", "Optimizer steps done by the training under way")
TRAINING_STEPS = _gauge("training_steps", "Optimizer steps of the training under way in all")
TRAINING_SECONDS = _gauge("training_seconds", "Seconds spent by the training under way")
TRAININGS = _counter("trainings", "Trainings that ended", "state")

PROVIDER_CALLS = _counter("provider_calls", "Calls to the teacher's provider", "result")
PROVIDER_TOKENS = _counter("provider_tokens", "Tokens billed by the teacher's provider", "kind")
PROVIDER_COST = _counter("provider_cost_dollars", "US dollars billed by the teacher's provider")

SAMPLES = _counter("samples", "Samples of users' requests for the next round", "result")

_reasons: set[str] = set()
_readers: list[Callable[[], Awaitable[None]]] = []


@cache
def _requests(protocol: str, method: str, code: str) -> Counter:
    return REQUESTS.labels(protocol, method, code)


@cache
def _request_seconds(protocol: str, method: str) -> Histogram:
    return REQUEST_SECONDS.labels(protocol, method)


@cache
def _tokens(counter: Counter, kind: str) -> Counter:
    return counter.labels(kind)


def ended(protocol: str, method: str, code: str, seconds: float | None) -> None:
    """Counts a request. `seconds` None: its duration does not count, as that of a stream."""
    _requests(protocol, method, code).inc()
    if seconds is not None:
        _request_seconds(protocol, method).observe(seconds)


def failed(protocol: str, error: MpaError | str) -> None:
    """Counts the error of a reply, or its reason; and the limit, if one was reached."""
    reason = error if isinstance(error, str) else error.reason
    if len(_reasons) < _MOST_REASONS and _REASON.fullmatch(reason):
        _reasons.add(reason)
    ERRORS.labels(protocol, reason if reason in _reasons else OTHER).inc()
    if isinstance(error, Overloaded):
        LIMITS_HIT.labels(error.limit).inc()


def replied(usage: Usage, counter: Counter = TOKENS) -> None:
    """Counts the tokens of a reply; a cached token of the prompt is of another kind."""
    _tokens(counter, "prompt").inc(usage.prompt_tokens - usage.cached_prompt_tokens)
    _tokens(counter, "cached_prompt").inc(usage.cached_prompt_tokens)
    _tokens(counter, "generated").inc(usage.completion_tokens)


def billed(usage: Usage) -> None:
    """Counts tokens and dollars of a provider's reply, usable or not."""
    replied(usage, PROVIDER_TOKENS)
    PROVIDER_COST.inc(usage.cost_usd)


def before_reading(refresh: Callable[[], Awaitable[None]]) -> None:
    """Calls `refresh` on the event loop before each reading: it sets gauges."""
    _readers.append(refresh)


async def exposition() -> bytes:
    """All metrics in the text format of Prometheus."""
    for refresh in _readers:
        try:
            await refresh()
        except Exception:  # the other metrics may show why
            _log.exception("some gauges can't be set")
    return await asyncio.to_thread(generate_latest, REGISTRY)
