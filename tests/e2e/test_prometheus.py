"""Prometheus with the shipped files, reading a real service."""

import base64
import shutil
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from services.orchestrator.endpoints.processes import free_ports
from tests.deployed import ALERTS, SETTINGS, alerts, expressions, panels, prometheus_tool
from tests.e2e.processes import serving
from tests.pictures import png
from tests.serving import fake_checkpoint
from tests.waiting import until_true

pytestmark = pytest.mark.slow
STUDENT = "127.0.0.1:3000"
UNUSED = {
    "Limits hit",
    "Seconds of swaps",
    "Training",
    "Training time",
    "Used share of the KV cache (vLLM)",
}
"""Panels of what this student did not do."""
ASKED = {"image": base64.b64encode(png()).decode(), "question": "what?"}


class Reader:
    """A running Prometheus."""

    def __init__(self, port):
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10)

    def get(self, path, **asked):
        return self._http.get(path, params=asked).raise_for_status().json()["data"]

    def values(self, expression):
        return [
            float(found["value"][1]) for found in self.get("/query", query=expression)["result"]
        ]

    def reads(self, expression):
        """Values; none while it starts, when it refuses connections, then queries (503)."""
        try:
            return self.values(expression)
        except httpx.HTTPError:
            return []


@contextmanager
def reading(folder, student):
    """A Prometheus with our files that reads the student at this address every second."""
    text = SETTINGS.read_text()
    assert "15s" in text and STUDENT in text
    text = text.replace("15s", "1s").replace(STUDENT, student)
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(ALERTS, folder)
    check = [prometheus_tool("promtool"), "check", "config", folder / "prometheus.yml"]
    subprocess.run(check, check=True)
    (port,) = free_ports(1)
    arguments = [
        prometheus_tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        yield Reader(port)
    finally:
        process.kill()
        process.wait()


def test_every_rule_and_panel_reads_a_real_service(tmp_path):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    with serving("student", tmp_path, model=model, store=tmp_path / "store") as student:
        address = f"127.0.0.1:{student.http_port}"
        for _ in range(3):
            httpx.post(f"http://{address}/v1/vqa", json=ASKED).raise_for_status()
        refused = httpx.post(f"http://{address}/v1/vqa", json={**ASKED, "question": ""})
        assert refused.status_code == 400
        folder = tmp_path / "prometheus"
        folder.mkdir()
        with reading(folder, address) as prometheus:
            answered = 'sum(mpa_requests_total{method="/v1/vqa", code="200"})'
            until_true(lambda: prometheus.reads(f"count_over_time(({answered})[5s:1s]) > 2"))
            assert prometheus.values(answered) == [3]
            assert prometheus.values('mpa_pointer_info{pointer="live", version="v1"}') == [1]
            assert prometheus.values("sum(mpa_image_cache_lookups_total)") == [3]
            assert prometheus.values(f'up{{instance="{address}"}}') == [1]
            for expression in expressions():
                prometheus.values(expression)  # an unknown function or label list is an error
            empty = [
                title
                for title, shown in panels().items()
                if not title.startswith("Provider") and not any(map(prometheus.values, shown))
            ]
            assert set(empty) <= UNUSED
            rules = prometheus.get("/rules")["groups"][0]["rules"]
            assert {rule["name"] for rule in rules} == alerts().keys()
            until_true(
                lambda: all(
                    rule["health"] == "ok"
                    for rule in prometheus.get("/rules")["groups"][0]["rules"]
                )
            )
