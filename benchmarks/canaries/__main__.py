"""Errors of the canaries in bfloat16: right versions that are refused, wrong weights that pass.

    python -m benchmarks.canaries --model bundled --model minivqa --model 150m [--engine vllm]

Each version is trained from a checkpoint in bfloat16, with a seed and a learning rate of its own.
Its canaries are computed in float32, and asked in bfloat16. Every third version is asked with wrong
weights, too: the whole parent's, 1 % of noise on every tensor, and, on the transformers engine, a
part of the parent's left in place (the vision tower, the connector, each layer). The scores of each
version are kept in build/bench/canaries.jsonl, so that a second start measures only the missing
versions, and another rule of the verdict needs no new measurement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.canaries.refusals import rows
from benchmarks.canaries.scored import measure_version, scored_versions
from benchmarks.row import Row

MODELS = ("bundled", "minivqa", "150m")
VERSIONS = {
    "transformers": {"bundled": 90, "minivqa": 90, "150m": 6},
    "vllm": {"bundled": 17, "minivqa": 31, "150m": 10},  # an engine is started for each
}


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(VERSIONS):
        measured = {version.number for version in scored_versions(model, engine)}
        for number in range(given.share(VERSIONS[engine][model])):
            if number not in measured:
                await measure_version(model, engine, number)
        for row in rows(model, engine):
            yield row


if __name__ == "__main__":
    arguments.run([measure], __doc__, MODELS)
