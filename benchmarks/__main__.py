"""All rows of the table: `make bench`. Each is written to results.jsonl as soon as it is measured.

python -m benchmarks --model bundled --runs 5
"""

from __future__ import annotations

from benchmarks import (
    agreement,
    arguments,
    conformance,
    endpoint,
    explorer,
    keys,
    latency,
    ledger_page,
    memory,
    onlooker,
    overhead,
    overload,
    pipeline,
    pipeline_offline,
    resume,
    rolling,
    standstill,
    stream,
    swap_latency,
    swaps,
    teacher_calls,
    training,
    training_memory,
)

MODULES = (
    agreement,
    stream,
    pipeline,
    pipeline_offline,
    latency,
    keys,
    endpoint,
    conformance,
    training,
    training_memory,
    swaps,
    rolling,
    swap_latency,
    memory,
    ledger_page,
    explorer,
    onlooker,
    teacher_calls,
    overhead,
    overload,
    resume,
    standstill,
)

if __name__ == "__main__":
    arguments.run([module.measure for module in MODULES], __doc__)
