"""Readings of metrics and the figures of a service."""

import random

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from services.core.errors import Unavailable
from services.orchestrator.endpoints.processes import free_ports
from services.orchestrator.endpoints.readings import (
    ADDRESS,
    MetricsReading,
    figures,
    quantile,
    read_figures,
)


class Exposed:
    """A service's metrics with a few names of ours."""

    def __init__(self):
        self.registry = CollectorRegistry()
        labels = ["protocol", "method"]
        bounds = (0.01, 0.1, 1.0)
        self.seconds = Histogram(
            "mpa_request_seconds", "", labels, buckets=bounds, registry=self.registry
        )
        self.errors = Counter("mpa_errors", "", ["protocol", "reason"], registry=self.registry)
        self.ready = Gauge("mpa_ready", "", registry=self.registry)
        service = Info("mpa_service", "", registry=self.registry)
        service.info({"role": "student", "engine": 'a "quoted\\one"', "release": "1"})

    def read(self, at):
        return MetricsReading.parse(generate_latest(self.registry).decode(), at)


def test_rates_and_quantiles_are_those_between_two_readings_of_both_protocols():
    exposed = Exposed()
    slow = exposed.seconds.labels("http", "/v1/vqa")
    for _ in range(1_000):
        slow.observe(0.5)
    before = exposed.read(10.0)
    for protocol, method in (("http", "/v1/vqa"), ("grpc", "/mpa.v1.StudentService/AnswerStream")):
        for _ in range(10):
            exposed.seconds.labels(protocol, method).observe(0.005)
    for _ in range(500):
        exposed.seconds.labels("http", "/metrics").observe(0.9)
    exposed.errors.labels("http", "QUESTION_EMPTY").inc(2)
    exposed.errors.labels("grpc", "QUESTION_EMPTY").inc(3)
    found = figures("here", before, exposed.read(12.0))
    assert found.requests_per_s == 10
    assert found.p50_s and found.p99_s
    assert 0 < found.p50_s < found.p99_s <= 0.01
    assert found.errors == {"QUESTION_EMPTY": 5}
    assert (found.is_ready, found.training, found.cache_hits) == (False, None, None)


def test_without_a_request_in_between_latencies_are_those_since_the_start():
    exposed = Exposed()
    exposed.seconds.labels("http", "/v1/vqa").observe(0.5)
    found = figures("here", exposed.read(0.0), exposed.read(1.0))
    assert found.requests_per_s == 0
    assert found.p50_s
    assert 0.1 < found.p50_s <= 1.0


def test_a_quantile_is_within_the_bucket_of_the_true_one():
    bounds = (*(2.0**power for power in range(-8, 6)), float("inf"))
    drawn = sorted(random.Random(1).expovariate(3.0) for _ in range(5_000))
    buckets = {bound: float(sum(value <= bound for value in drawn)) for bound in bounds}
    for share in (0.1, 0.5, 0.9, 0.99):
        true = drawn[int(share * len(drawn))]
        found = quantile(share, buckets)
        assert found
        assert true / 2 <= found <= 2 * true
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {1.0: 0.0, float("inf"): 2.0}) == 1.0


def test_labels_are_read_as_they_were_written():
    (service,) = Exposed().read(0.0).info("mpa_service_info")
    assert service["role"] == "student"
    assert "quoted" in service["engine"]


@pytest.mark.parametrize("given", ["127.0.0.1:3000", "http://host:80", "https://host:443/", "a:1"])
def test_an_address_has_a_port(given):
    assert ADDRESS.fullmatch(given)


@pytest.mark.parametrize("given", ["runs/demo", "runs:1/demo", "demo", "host", "host:port"])
def test_a_folder_is_no_address(given):
    assert not ADDRESS.fullmatch(given)


def test_nobody_at_an_address_is_an_error_that_names_it():
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*3000 or 3001"):
        read_figures(f"127.0.0.1:{port}", 0.0)
