"""BentoML's own settings, the same for both services: loopback, one worker, nothing sent anywhere."""

from __future__ import annotations

import os
from typing import Any

from bentoml._internal.utils.analytics import usage_stats

from services.environment import Environment
from services.rpc.lifecycle import listen_host


def bento_settings(prefix: str) -> dict[str, Any]:
    """Arguments of `bentoml.service`. Raises InvalidInput: a host that is no IP address."""
    _report_nothing()
    return {
        # Versions and trainings have one owner, and a second process would fight for the gRPC port. Scale by replicas.
        "workers": 1,
        "http": {"host": listen_host(Environment(prefix, os.environ))},
        # The gate writes a line for each call, with its id; this one would fill the disk at the callers' rate.
        "logging": {"access": {"enabled": False}},
    }


def _report_nothing() -> None:
    """BentoML reports its use to its makers unless told not to, and has asked before it imports a service."""
    os.environ.setdefault(usage_stats.BENTOML_DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()
