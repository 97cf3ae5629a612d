"""Dashboard and alerts name metrics that exist, and every alert has its advice."""

import re
from pathlib import Path

import pytest
import yaml

from services import metrics
from tests.deployed import alerts, expressions, names

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "info": ("_info",)}


def exposed():
    found = set()
    for family in metrics.REGISTRY.collect():
        found |= {family.name + suffix for suffix in SUFFIXES.get(family.type, ("",))}
    return found


def test_every_expression_names_metrics_that_exist():
    named = set().union(*map(names, expressions()))
    assert len(named) > 20
    assert named <= exposed(), named - exposed()


def test_every_metric_is_shown_or_watched():
    families = [family.name for family in metrics.REGISTRY.collect()]
    named = " ".join(expressions())
    assert [name for name in families if "mpa_" in name and name not in named] == []


@pytest.mark.parametrize("folder", ["prometheus", "compose"])
def test_the_jobs_have_the_names_that_the_alerts_expect(folder):
    settings = yaml.safe_load((ROOT / "deploy" / folder / "prometheus.yml").read_text())
    jobs = [each["job_name"] for each in settings["scrape_configs"]]
    assert jobs and all(job.startswith("mpa-") for job in jobs)
    assert 'job=~"mpa-.*"' in alerts()["MpaServiceDown"]


def test_every_alert_has_its_advice():
    advice = set(re.findall(r"^\| `(Mpa\w+)` \|", (ROOT / "docs/operations.md").read_text(), re.M))
    assert advice == alerts().keys()
