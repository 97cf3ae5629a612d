"""The Ray cluster of a run: an existing one, or one that is started on this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.core.errors import InvalidInput, MpaError, Unavailable, WrongState
from services.orchestrator.endpoints.processes import ROOT

LOCAL = "local"
LEAST_CPUS = 4
"""CPUs of a cluster of this machine alone: at least three actors, and a task.

Ray only counts them.
"""
OBJECT_STORE_BYTES = 256 * 2**20
"""Object store of such a cluster: only rows of text travel."""
LONGEST_WAIT_S = 20.0
ENDING_S = 20.0
"""Longest wait for the threads of pipelines."""
WAITING = "waiting-for-blocks"
"""Our thread that waits for a pipeline's blocks."""
THREADS = (
    WAITING,
    "StreamingExecutor",
    "iter_threaded",
    "ray-data-metadata-prefetch",
)
"""Beginnings of the names of all threads that work for a pipeline."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or a late process starts another cluster
}


class ClusterFailed(Unavailable):
    """The cluster lost more than it could replace. Results until then are kept."""


@contextmanager
def joined(address: str, patience_s: float) -> Iterator[None]:
    """Joins the cluster at `address`, or starts one here if it is "".

    `address`: HOST:PORT of the head node, or "auto" for the cluster that this machine is
    a node of. Raises InvalidInput (an address of another kind), Unavailable (nobody
    there), WrongState (another version of Ray or Python than the cluster's).
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address and address != "auto":
        _require_reachable(address, patience_s)
    import ray

    try:
        with _own_signals():
            ray.init(
                address=address or LOCAL,
                runtime_env={"env_vars": _environment()},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else _own_cluster()),
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _explained(error, address) from error
    try:
        yield
    finally:
        _end_pipelines()
        ray.shutdown()


def _end_pipelines() -> None:
    """Ends the pipelines and waits for their threads.

    A thread that lets go of a block while Ray shuts down ends this process. Ray Data
    itself doesn't wait for the thread of `iter_batches`, and for the others only for
    seconds. A pipeline whose reader was cancelled still runs.
    """
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    deadline = time.monotonic() + ENDING_S
    threads = [one for one in threading.enumerate() if one.name.startswith(THREADS)]
    for thread in threads:
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _own_cluster() -> dict[str, Any]:
    return {
        "num_cpus": max(LEAST_CPUS, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }


def gpus() -> float:
    import ray

    return float(ray.cluster_resources().get("GPU", 0.0))


def _require_reachable(address: str, patience_s: float) -> None:
    """Raises MpaError if nobody answers.

    Ray itself would wait for minutes, and may end this process.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise InvalidInput(
            f"--ray-address is {address!r}: give HOST:PORT of the cluster's head node, "
            "as `ray start` shows it, or auto",
            field="ray_address",
        )
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        node_info = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            node_info.CheckAlive(
                gcs_service_pb2.CheckAliveRequest(), timeout=min(patience_s, LONGEST_WAIT_S)
            )
        except grpc.RpcError as error:
            is_other = error.code() is grpc.StatusCode.UNIMPLEMENTED
            raise _nobody(
                address, "another service answers there" if is_other else "nobody answers there"
            ) from error


def _explained(error: Exception, address: str) -> MpaError:
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        return WrongState(
            f"{text}: install the cluster's versions here, or run mpa-orch on its head node"
        )
    if address:
        return _nobody(address, text)
    return Unavailable(f"no Ray cluster can be started here: {text}")


def _nobody(address: str, why: str) -> MpaError:
    return Unavailable(
        f"there is no Ray cluster at {address} ({why}): start one (`ray start --head`) "
        "and run mpa-orch on one of its machines, "
        "or leave out --ray-address for one of this machine alone"
    )


def _environment() -> dict[str, str]:
    """Environment of every worker: the path of this program, and the settings of the engines.

    Ray shows it to everybody who sees its dashboard, so a key is left out; MPA_KEY_FILE is not.
    """
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("MPA_", "HF_")) and name != "MPA_KEY"
    }
    return {**QUIET, **settings, "PYTHONPATH": f"{ROOT}:${{PYTHONPATH}}"}


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps our handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)
