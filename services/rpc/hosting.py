"""Settings of BentoML for both services: loopback, one worker, no usage reports.

`bentoml build --arg engine=vllm` makes a bento that has vLLM, serves by it, and needs a GPU.
`bentoml build --arg device=cpu` makes one whose image has torch without CUDA.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from bentoml.images import Image

from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc import logs
from services.rpc.access.access import Access
from services.rpc.access.settings import AccessSettings, listen_host

VLLM = ("vllm>=0.32,<0.34", "opentelemetry-sdk==1.45.1")
"""Requirements of a bento with vLLM: as in pyproject.toml and constraints.txt; a test compares."""


def bento_settings(prefix: str) -> dict[str, Any]:
    """Arguments of `bentoml.service`; the log gets its form and level.

    Raises InvalidInput: a host that is no IP address, or that strangers could reach without keys;
    files of keys or certificates that can't be read; an unknown form or level of the log. Later,
    BentoML would start again for ever.
    """
    _report_nothing()
    env = Environment(prefix, os.environ)
    logs.configure(logs.LogSettings.from_environment(env))
    host = listen_host(env)
    Access(AccessSettings.from_environment(env)).settings.require_guarded(host)
    given = bentoml.use_arguments()
    return {
        # Versions and trainings have one owner, and only one process gets the gRPC port.
        # Scale by replicas.
        "workers": 1,
        "http": {"host": host},
        # The gate logs each call with its id, at a limited rate; this log has no limit.
        "logging": {"access": {"enabled": False}},
        **_build_settings(prefix, getattr(given, "engine", ""), getattr(given, "device", "")),
    }


def _build_settings(prefix: str, engine: str, device: str) -> dict[str, Any]:
    """Settings of a bento that was built for one engine or device. Raises InvalidInput."""
    if engine and device:
        raise InvalidInput(f"--arg engine={engine} and --arg device={device}: give one of them")
    if device:
        if device != "cpu":
            raise InvalidInput(f"--arg device is {device!r}: give cpu, or leave it out")
        return {"envs": [{"name": "UV_TORCH_BACKEND", "value": "cpu"}]}
    if not engine:
        return {}
    if engine != "vllm":
        raise InvalidInput(f"--arg engine is {engine!r}: give vllm, or leave it out")
    # The services choose their devices themselves.
    os.environ.setdefault("BENTOML_DISABLE_GPU_ALLOCATION", "1")
    return {
        "envs": [
            {"name": f"{prefix}ENGINE", "value": engine},
            # FlashInfer compiles its sampler at the first start, and an image has no nvcc. Seeded
            # requests, which ours are, never use it.
            {"name": "VLLM_USE_FLASHINFER_SAMPLER", "value": "0"},
        ],
        "image": Image(lock_python_packages=False).python_packages(*VLLM),
        "resources": {"gpu": 1},
    }


def _report_nothing() -> None:
    """Turns off the usage reports of BentoML, which has already read its setting."""
    os.environ.setdefault(usage_stats.BENTOML_DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()
