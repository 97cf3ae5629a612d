"""Clusters that can't be joined: the message, and how soon it comes."""

import asyncio
import socket
import subprocess
import sys

import pytest

from services.core.errors import InvalidInput, Unavailable, WrongState
from services.orchestrator.distributed.cluster import joined
from tests.e2e.processes import ROOT
from tests.orchestrator.scripted import ScriptedTeacher
from tests.orchestrator.scripted_service import serving


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "http://head:8265", "head:port"])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(InvalidInput, match="HOST:PORT"), joined(address, 5):
        pass


def test_nobody_at_the_address():
    with (
        pytest.raises(Unavailable, match=r"no Ray cluster at 127\.0\.0\.1:1 .*ray start --head"),
        joined("127.0.0.1:1", 5),
    ):
        pass


def test_something_else_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(Unavailable, match=f"no Ray cluster at {address} \\(nobody answers"),
            joined(address, 0.5),
        ):
            pass


async def test_another_service_at_the_address():
    async with serving(ScriptedTeacher()) as address:

        def join():
            with joined(address, 5):
                pass

        with pytest.raises(Unavailable, match="another service answers there"):
            await asyncio.to_thread(join)


@pytest.mark.slow
def test_a_cluster_of_another_version(cluster):
    import json

    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

    store = GcsClient(address=cluster.address)
    key, namespace = b"CLUSTER_METADATA", b"cluster"
    true = store.internal_kv_get(key, namespace)
    store.internal_kv_put(
        key, json.dumps({**json.loads(true), "ray_version": "2.0.0"}).encode(), True, namespace
    )
    try:
        with (
            pytest.raises(WrongState, match=r"Ray: 2\.0\.0.*install the cluster's versions"),
            joined(cluster.address, 5),
        ):
            pass
    finally:
        store.internal_kv_put(key, true, True, namespace)


ALONE = """
import ray
from services.orchestrator.distributed.cluster import gpus, joined

with joined("", 5):
    assert ray.is_initialized()
    assert gpus() == 0.0
assert not ray.is_initialized()
"""


@pytest.mark.slow
def test_without_an_address_it_is_a_cluster_of_this_machine_that_ends_with_the_run():
    """Joins in a process of its own: Ray Data keeps its knowledge of a process's first cluster."""
    subprocess.run([sys.executable, "-c", ALONE], check=True, cwd=ROOT, timeout=120)
