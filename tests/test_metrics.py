"""The vocabulary of metrics: bounded labels, and the same names in code and documents."""

import os
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from services import metrics
from services.core.errors import InvalidInput, Overloaded

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| `(mpa_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)


def value(name, **labels):
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


def declared():
    """(name as exposed, type, labels) of each metric of ours."""
    found = set()
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (family,) = metric.describe()
        labels = set(metric._labelnames)
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        if metric is metrics.SERVICE:
            labels |= {"role", "engine", "release"}
        elif metric is metrics.POINTERS:
            labels |= {"version"}
        found.add((family.name + suffix, family.type, frozenset(labels)))
    return found


def test_the_documented_metrics_are_those_of_the_code():
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(text)
    }
    assert documented == declared()


async def test_a_reason_that_is_no_constant_gets_no_series_of_its_own():
    before = value("mpa_errors_total", protocol="http", reason=metrics.OTHER)
    known = set(metrics._reasons)
    for reason in ("what color is it?", "x" * 500, "A" * 41):
        metrics.failed(metrics.HTTP, InvalidInput("no", reason=reason))
    for number in range(1_000):
        metrics.failed(metrics.HTTP, f"REASON_{number}")
    assert value("mpa_errors_total", protocol="http", reason=metrics.OTHER) - before > 900
    assert b"what color" not in await metrics.exposition()
    metrics._reasons.intersection_update(known)  # room for other tests


def test_a_limit_is_counted_with_the_error_of_its_refusal():
    before = value("mpa_limits_hit_total", limit="engine_queue")
    metrics.failed(metrics.GRPC, Overloaded("full", limit="engine_queue"))
    assert value("mpa_limits_hit_total", limit="engine_queue") - before == 1


async def test_a_gauge_that_cannot_be_set_does_not_hide_the_others():
    async def broken():
        raise OSError("the store is gone")

    metrics.before_reading(broken)
    try:
        assert b"mpa_ready" in await metrics.exposition()
    finally:
        metrics._readers.remove(broken)


def test_no_value_is_kept_in_a_file(tmp_path):
    """BentoML asks for files, which a full disk would turn into the end of the process."""
    count = "from services import metrics; metrics.failed(metrics.HTTP, 'INTERNAL')"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", count], env=environment, check=True)
    assert not list(tmp_path.iterdir())
