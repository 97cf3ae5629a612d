"""Settings of BentoML for both services: loopback, one worker, no usage reports."""

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
        # Versions and trainings have one owner, and only one process gets the gRPC port.
        # Scale by replicas.
        "workers": 1,
        "http": {"host": listen_host(Environment(prefix, os.environ))},
        # The gate logs each call with its id, at a limited rate; this log has no limit.
        "logging": {"access": {"enabled": False}},
    }


def _report_nothing() -> None:
    """Turns off the usage reports of BentoML, which has already read its setting."""
    os.environ.setdefault(usage_stats.BENTOML_DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()
