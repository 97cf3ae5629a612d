"""A real Ray cluster on this machine; tests that lose a node add their own to it."""

import json
import os

import pytest

from services.engines.settings import EngineSettings
from services.orchestrator.distributed.cluster import QUIET
from services.orchestrator.distributed.models import Loaded

STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="package")
def cluster():
    """A head node without room for actors, and two nodes with room for the three actors of a
    pipeline.
    """
    os.environ.update(QUIET)
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES}
    )
    for _ in range(2):
        add_node(started)
    yield started
    ray.shutdown()  # this process may still be connected to it
    started.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=3, object_store_memory=STORE_BYTES)


@pytest.fixture
def sources(tmp_path):
    """Fake engines in the actors: each batch takes `latency_s`."""

    def made(max_batch: int, latency_s: float = 0.2):
        found = {}
        for role, skills in (
            ("teacher", {"skill": 0.95, "unparsed": 0.1}),
            ("student", {"skill": 0.5}),
        ):
            folder = tmp_path / role
            folder.mkdir(exist_ok=True)
            (folder / "fake.json").write_text(json.dumps({"latency_s": latency_s, **skills}))
            found[role] = Loaded(str(folder), EngineSettings(engine="fake", max_batch=max_batch))
        return found

    return made
