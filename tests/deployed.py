"""The files of deploy/ that name metrics: their expressions, and programs to try them with."""

import json
import re
import sys
from pathlib import Path

import yaml

from tests import tools

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SETTINGS = DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"
_NAME = re.compile(r"\b(?:mpa|process)_[a-z0-9_]+")


def alerts() -> dict[str, str]:
    """Expressions of the alerts by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> dict[str, list[str]]:
    """Expressions of the dashboard's panels by title, for all services and a minute."""
    return {
        panel["title"]: [
            target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            for target in panel["targets"]
        ]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
    }


def expressions() -> list[str]:
    return [*alerts().values(), *(one for shown in panels().values() for one in shown)]


def names(expression: str) -> set[str]:
    return set(_NAME.findall(expression))


def prometheus_tool(name: str) -> str:
    """The path of prometheus or promtool."""
    return str(tools.program(name, "it tries deploy/ (make prometheus)", UNPACKED))
