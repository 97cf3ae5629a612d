"""Ray Data: blocks of images pass through tasks and autoscaling pools of actors."""

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
from services.orchestrator.distributed.brake import Brake
from services.orchestrator.distributed.cluster import ClusterFailed
from services.orchestrator.distributed.models import Loaded, Source
from services.orchestrator.distributed.stages import ROLES, Stage, Step, from_table, look, to_table
from services.orchestrator.distributed.work import Parcel, Work
from services.orchestrator.images.reading import Accepted, RefusedImage

IMAGES_OF_A_BLOCK = 32
"""A block is one task of Ray. A killed driver loses the blocks in flight, some for each actor."""
BLOCKS_AT_ONCE = 4
"""Blocks of one actor at a time, so that its model never waits for the slowest image of one."""
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
    """Blocks of images in the order of `paths`, without the pictures' bytes."""
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
    parcels: Sequence[Parcel], work: Work, sources: Sources, brake: Brake, stalled_s: float
) -> Blocks[Parcel]:
    """Blocks of `parcels` with all their results, in the order in which they are done.

    `sources` by role; `stalled_s` without progress end it. Raises Unavailable if the
    cluster can't go on; earlier blocks stay valid.
    """
    dataset = _dataset([to_table(list(some)) for some in _blocks(parcels)], stalled_s=stalled_s)
    for step in Step:
        source = sources[ROLES[step]]
        dataset = dataset.map_batches(
            Stage,
            fn_constructor_args=(work, step, source, brake),
            batch_size=None,
            batch_format="pyarrow",
            compute=_pool(source),
            num_cpus=_cpus(source),
            num_gpus=_gpus(source),
        )
    for table in _arriving(dataset):
        yield from_table(table)


def _pool(source: Source) -> ray.data.ActorPoolStrategy:
    """Actors for which there is room and work.

    Further connections to a machine's service gain nothing.
    """
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
    """Blocks as they arrive.

    Raises the MpaError of an actor, ClusterFailed for a fault of the cluster; anything
    else is a bug.
    """
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
