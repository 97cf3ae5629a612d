"""The brake of a pipeline: after an error no further image is asked about, no answer is lost.

Blocks that have begun pass the remaining stages untouched, so that their answers arrive at
the driver, which waits for no other block.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class _Begun:
    """Blocks that have begun, by their first image; all stages of all machines ask here."""

    def __init__(self) -> None:
        self._blocks: set[str] = set()
        self._is_pulled = False

    async def may_begin(self, block: str) -> bool:
        if not self._is_pulled:
            self._blocks.add(block)
        return not self._is_pulled

    async def is_pulled(self) -> bool:
        return self._is_pulled

    async def pull(self) -> set[str]:
        self._is_pulled = True
        return self._blocks


class Brake:
    """An actor on the driver's machine, which lasts as long as a pipeline."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._begun: Any = ray.remote(_Begun).options(scheduling_strategy=here, **options).remote()

    async def may_begin(self, block: str) -> bool:
        return bool(await self._begun.may_begin.remote(block))

    async def is_pulled(self) -> bool:
        return bool(await self._begun.is_pulled.remote())

    async def pull(self) -> set[str]:
        """Stops the stages. Returns the first image of each block that has begun."""
        return set(await self._begun.pull.remote())
