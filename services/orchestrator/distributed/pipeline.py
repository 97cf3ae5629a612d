"""Ray Data: blocks of images go through tasks and autoscaling pools of actors, and come back as they are done."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

import pyarrow as pa
import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    WorkerCrashedError,
)

from services.core.errors import MpaError
from services.orchestrator.distributed.cluster import ClusterFailed
from services.orchestrator.distributed.models import Loaded, Source
from services.orchestrator.distributed.stages import ROLES, Stage, Step, from_table, look, to_table
from services.orchestrator.distributed.work import Parcel, Work
from services.orchestrator.images.reading import Accepted, RefusedImage

IMAGES_OF_A_BLOCK = 32
"""A block is one task of Ray. A driver that is killed loses those that are under way, some for each actor."""
BLOCKS_AT_ONCE = 4
"""In one actor, so that its model never waits for the slowest image of a block."""
CLIENT_CPUS, LOADED_CPUS, LOOKING_CPUS = 0.1, 1.0, 0.5

OF_THE_CLUSTER = (
    ExecutionTimeoutError,
    RayActorError,
    ObjectLostError,
    NodeDiedError,
    WorkerCrashedError,
)

T = TypeVar("T")
Blocks: TypeAlias = Generator[list[T], None, None]
Sources: TypeAlias = Mapping[str, Source]


def looked_at(paths: Sequence[str], images: str) -> Blocks[Accepted | RefusedImage]:
    """In the order of `paths`, blocks of them; pictures come without their bytes."""
    blocks = [pa.table({"path": pa.array(some, pa.string())}) for some in _blocks(paths)]
    found = _dataset(blocks, preserve_order=True).map_batches(
        look,
        fn_kwargs={"images": images},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=LOOKING_CPUS,
    )
    for table in _arriving(found):
        yield [pickle.loads(one) for one in table.column("found").to_pylist()]


def identified(
    parcels: Sequence[Parcel], work: Work, sources: Sources, stalled_s: float
) -> Blocks[Parcel]:
    """Blocks of `parcels` with all that was learned about them, in the order in which they are done. `sources` by role.
    `stalled_s` without progress end it.

    Raises Unavailable where the cluster can't go on; what has come back by then is good.
    """
    dataset = _dataset([to_table(list(some)) for some in _blocks(parcels)], stalled_s=stalled_s)
    for step in Step:
        source = sources[ROLES[step]]
        dataset = dataset.map_batches(
            Stage,
            fn_constructor_args=(work, step, source),
            batch_size=None,
            batch_format="pyarrow",
            compute=_pool(source),
            num_cpus=_cpus(source),
            num_gpus=_gpus(source),
        )
    for table in _arriving(dataset):
        yield from_table(table)


def _pool(source: Source) -> ray.data.ActorPoolStrategy:
    """As many actors as there is room and work for. More connections to one service than machines gain nothing."""
    most = None if isinstance(source, Loaded) else len(ray.nodes())
    return ray.data.ActorPoolStrategy(
        min_size=1, max_size=most, max_concurrent_calls_per_actor=BLOCKS_AT_ONCE
    )


def _cpus(source: Source) -> float | None:
    if isinstance(source, Loaded):
        return None if source.devices else LOADED_CPUS
    return CLIENT_CPUS


def _gpus(source: Source) -> float | None:
    return source.devices or None if isinstance(source, Loaded) else None


def _dataset(
    blocks: list[pa.Table], *, preserve_order: bool = False, stalled_s: float = -1
) -> ray.data.Dataset:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = preserve_order
    context.execution_no_progress_timeout_s = stalled_s
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray.data.from_arrow(blocks)


def _arriving(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Raises the MpaError that an actor raised, ClusterFailed for what goes wrong with the cluster itself; else it is a bug."""
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except (RayError, ExecutionTimeoutError) as error:
        causes = list(_causes(error))
        if found := next((cause for cause in causes if isinstance(cause, MpaError)), None):
            raise found from None
        if isinstance(causes[-1], OF_THE_CLUSTER):
            raise ClusterFailed(f"the Ray cluster gave up: {_first_line(causes[-1])}") from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _blocks(parcels: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(parcels), IMAGES_OF_A_BLOCK):
        yield parcels[start : start + IMAGES_OF_A_BLOCK]
