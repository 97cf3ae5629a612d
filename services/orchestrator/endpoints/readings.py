"""Readings of a service's metrics (docs/operations.md), and the figures that two of them give."""

from __future__ import annotations

import math
import re
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from services.core.errors import MpaError, Unauthenticated, Unavailable
from services.rpc.access.credentials import Credentials

TIMEOUT_S = 10.0
ADDRESS = re.compile(r"(https?://)?[^/\s]+:\d+/?")
_ANSWERS = re.compile(r"/v1/.*|.*/(Answer|Annotate)(Stream)?")
"""Methods that ask a model."""
_LINE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class MetricsReading:
    """All samples of a service at one moment (`at`: seconds of a monotonic clock)."""

    samples: Mapping[str, Sequence[Sample]]
    at: float

    @staticmethod
    def parse(text: str, at: float) -> MetricsReading:
        """Reads the text format of Prometheus."""
        samples = defaultdict(list)
        for line in text.splitlines():
            if not line.startswith("#") and (found := _LINE.match(line)):
                labels = dict(_LABEL.findall(found["labels"] or ""))
                samples[found["name"]].append((labels, float(found["value"])))
        return MetricsReading(samples, at)

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples with these labels; 0 without one."""
        return sum(
            value for found, value in self.samples.get(name, ()) if labels.items() <= found.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by the values of a label, without those that are 0."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self.samples.get(name, ()):
            sums[labels.get(label, "")] += value
        return {key: value for key, value in sorted(sums.items()) if value}

    def info(self, name: str) -> list[Mapping[str, str]]:
        """Labels of an info metric's samples."""
        return [labels for labels, value in self.samples.get(name, ()) if value]

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulative counts of a histogram by upper bound; of requests, those to a model."""
        sums: dict[float, float] = defaultdict(float)
        for labels, value in self.samples.get(f"{name}_bucket", ()):
            if "method" not in labels or _ANSWERS.fullmatch(labels["method"]):
                sums[float(labels["le"])] += value
        return dict(sorted(sums.items()))


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """Figures of a service: rates over the seconds between two readings, totals since its start."""

    address: str
    role: str
    engine: str
    release: str
    is_ready: bool
    over_s: float
    """Seconds between the readings."""
    pointers: Mapping[str, str]
    """Versions by pointer; empty for a teacher."""
    versions_loaded: int
    requests_per_s: float
    """Answered requests to the model, over HTTP and gRPC."""
    p50_s: float | None
    """Seconds from request to reply: of the requests between the readings, or else since the
    service's start; None without any. So are the next two."""
    p99_s: float | None
    queue_p99_s: float | None
    in_flight: int
    mean_batch: float | None
    tokens_per_s: float
    images_per_s: float
    cache_hits: float | None
    """Share of images that were found in the cache, since the start."""
    errors: Mapping[str, int]
    """Failed requests by reason, since the start; so are the limits."""
    limits: Mapping[str, int]
    swaps: Mapping[str, int]
    """Swaps by result."""
    training: tuple[int, int] | None
    """Steps done and in all of the training under way."""
    cost_usd: float
    """Bill of the teacher's provider since the start."""
    memory_bytes: int


def read_figures(address: str, over_s: float) -> ServiceFigures:
    """Figures of the service at an HTTP address, read twice. Raises as `read`."""
    url = address if "://" in address else f"http://{address}"
    shown = Credentials.from_environment()
    # Plain HTTP has nothing to verify, and reading the system's authorities takes 20 ms.
    verify: ssl.SSLContext | bool = shown.context() if url.startswith("https:") else False
    with httpx.Client(
        base_url=url, timeout=TIMEOUT_S, headers=shown.headers(), verify=verify
    ) as client:
        before = read(client, address)
        time.sleep(over_s)
        return figures(address, before, read(client, address))


def read(client: httpx.Client, address: str) -> MetricsReading:
    """One reading. Raises Unavailable, Unauthenticated; MpaError: another thing is there."""
    try:
        response = client.get("/metrics")
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise Unauthenticated(
                f"{address} shows its metrics to keys with the role read: set MPA_KEY_FILE"
            ) from error
        raise MpaError(
            f"{address} answers {error.response.status_code} to GET /metrics: give the HTTP "
            "address of a service (mpa-orch serve: port 3000 or 3001)"
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"no service answers over HTTP at {address} ({error}): give the HTTP address of a "
            "service (mpa-orch serve: port 3000 or 3001)"
        ) from error
    found = MetricsReading.parse(response.text, time.monotonic())
    if not found.info("mpa_service_info"):
        raise MpaError(f"the metrics at {address} are not those of a teacher or student")
    return found


def figures(address: str, before: MetricsReading, after: MetricsReading) -> ServiceFigures:
    """Figures from two readings of one service. A restart between them counts from its start."""
    (service,) = after.info("mpa_service_info")
    seconds = max(after.at - before.at, 1e-9)

    def rate(value: Callable[[MetricsReading], float]) -> float:
        return max(0.0, value(after) - value(before)) / seconds

    batches = after.value("mpa_batch_size_count")
    lookups = after.value("mpa_image_cache_lookups_total")
    steps = int(after.value("mpa_training_step")), int(after.value("mpa_training_steps"))
    return ServiceFigures(
        address=address,
        role=service["role"],
        engine=service["engine"],
        release=service["release"],
        is_ready=bool(after.value("mpa_ready")),
        over_s=seconds,
        pointers={
            labels["pointer"]: labels["version"]
            for labels in after.info("mpa_pointer_info")
            if labels["version"]
        },
        versions_loaded=int(after.value("mpa_versions_loaded")),
        requests_per_s=rate(lambda each: _last(each.buckets("mpa_request_seconds"))),
        p50_s=_quantile(0.5, "mpa_request_seconds", before, after),
        p99_s=_quantile(0.99, "mpa_request_seconds", before, after),
        queue_p99_s=_quantile(0.99, "mpa_queue_seconds", before, after),
        in_flight=int(after.value("mpa_requests_in_flight")),
        mean_batch=after.value("mpa_batch_size_sum") / batches if batches else None,
        tokens_per_s=rate(lambda each: each.value("mpa_tokens_total")),
        images_per_s=rate(lambda each: each.value("mpa_images_decoded_total")),
        cache_hits=after.value("mpa_image_cache_lookups_total", result="hit") / lookups
        if lookups
        else None,
        errors=_whole(after.by("mpa_errors_total", "reason")),
        limits=_whole(after.by("mpa_limits_hit_total", "limit")),
        swaps=_whole(after.by("mpa_swaps_total", "result")),
        training=steps if after.value("mpa_training_running") else None,
        cost_usd=after.value("mpa_provider_cost_dollars_total"),
        memory_bytes=int(after.value("process_resident_memory_bytes")),
    )


def _whole(counts: Mapping[str, float]) -> dict[str, int]:
    return {name: int(count) for name, count in counts.items()}


def _last(buckets: Mapping[float, float]) -> float:
    return list(buckets.values())[-1] if buckets else 0.0


def _quantile(
    share: float, name: str, before: MetricsReading, after: MetricsReading
) -> float | None:
    now, earlier = after.buckets(name), before.buckets(name)
    recent = {bound: count - earlier.get(bound, 0.0) for bound, count in now.items()}
    return quantile(share, recent if _last(recent) > 0 else now)


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Quantile of a histogram, linear within a bucket as in Prometheus; None if it is empty."""
    rank = share * _last(buckets)
    if not rank:
        return None
    below, lower = 0.0, 0.0
    for bound, count in buckets.items():
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        below, lower = count, bound
    return lower
