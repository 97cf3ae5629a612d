"""Check of the whole platform on one GPU, in bfloat16 on vLLM, with models of true shape.

    make gpu-check
    python -m benchmarks.gpu_check --parts annotate,answer
    python -m benchmarks.gpu_check --scale tiny       (a machine without a GPU)
    python -m benchmarks.gpu_check --scale tiny --engine transformers

Qwen2-VL-7B teaches Qwen2-VL-2B. Weights are random unless the hub's are in its local cache
(HF_HUB_OFFLINE=0 downloads them): then replies mean nothing, but their times are true. A part that
fails is named and doesn't stop the next. The result is build/gpu-check/gpu-check.json, and the same
as a table in gpu-check.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from benchmarks import endpoint, latency, stream, training
from benchmarks.arguments import Arguments, Measure
from benchmarks.folders import ROOT, work_folder
from benchmarks.gpu_check import answering, leveling, swapping
from benchmarks.gpu_check.models import Models, set_environment
from benchmarks.gpu_check.outcome import Figure, Outcome, write
from benchmarks.gpu_check.parts import Part, run_parts
from benchmarks.gpu_check.scale import SCALES, Scale
from benchmarks.row import Row
from services.engines.gpus import visible_gpus
from services.orchestrator.doctor.devices import find_devices
from services.orchestrator.doctor.finding import Verdict
from services.orchestrator.doctor.libraries import probe_torch

OUT = ROOT / "build" / "gpu-check"
MINUTES = 9.0
ENGINES = ("vllm", "transformers")


async def _machine() -> list[Figure]:
    """Raises RuntimeError: driver, torch or vLLM can't use the GPU."""
    torch = await asyncio.to_thread(probe_torch)
    faults = [one for one in find_devices(torch) if one.verdict is Verdict.FAULT]
    if faults:
        raise RuntimeError("; ".join(f"{one.found}: {one.advice}" for one in faults))
    gpus = [Figure(gpu.name, gpu.total / 2**30, "GiB") for gpu in visible_gpus()]
    return gpus or [Figure("GPUs", 0, "GPUs", "everything runs on the CPU")]


async def _checkpoints(models: Models) -> list[Figure]:
    folders = await models.checkpoints()
    return [
        Figure(f"checkpoint of the {role}", _bytes_of(folder) / 1e9, "GB")
        for role, folder in folders.items()
    ]


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


async def _serve(models: Models) -> list[Figure]:
    """Both services on one GPU."""
    teacher, student = await models.both()
    return [
        Figure(f"{role} ready, memory of its processes", service.memory() / 2**30, "GiB")
        for role, service in (("teacher", teacher), ("student", student))
    ]


async def _row(models: Models, measure: Measure, given: Arguments) -> list[Row]:
    """A row of `make bench`; its processes have the GPU to themselves."""
    await models.close()
    return [row async for row in measure(models.scale.student, given)]


def parts_of(models: Models, given: Arguments) -> list[Part]:
    """All parts, in their order."""
    rows: dict[str, Measure] = {
        "endpoint": endpoint.measure,
        "stream": stream.measure,
        "training-against-trl": training.measure,
        "latency": latency.measure,
    }
    return [
        Part("machine", _machine),
        Part("checkpoints", partial(_checkpoints, models)),
        Part("serve", partial(_serve, models)),
        Part("annotate", partial(answering.annotate, models)),
        Part("answer", partial(answering.answer, models)),
        Part("train", partial(leveling.train, models)),
        Part("load", partial(leveling.load, models)),
        Part("two-slots", partial(swapping.two_slots, models, given)),
        Part("in-place", partial(swapping.in_place, models)),
        *(Part(name, partial(_row, models, row, given)) for name, row in rows.items()),
    ]


async def check(scale: Scale, names: list[str], minutes: float, engine: str) -> list[Outcome]:
    """Outcomes of the parts with these names, or of all."""
    set_environment(scale)
    given = Arguments((scale.student,), runs=1, quick=False, engine=engine)
    models = Models(scale, work_folder("gpu-check"), engine)
    chosen = [part for part in parts_of(models, given) if not names or part.name in names]
    try:
        return await run_parts(
            chosen, minutes * 60, lambda outcomes: write(OUT, scale.name, outcomes)
        )
    finally:
        await models.close()


def main() -> None:
    tiny = Models(SCALES["tiny"], OUT, ENGINES[0])
    names = [part.name for part in parts_of(tiny, Arguments((), 1, quick=False))]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scale",
        choices=tuple(SCALES),
        default="full" if visible_gpus() else "tiny",
        help="full: true shapes, needs a GPU of 80 GB (default with a GPU); tiny: for a CPU",
    )
    parser.add_argument(
        "--parts", default="", help=f"names separated by commas (default: all): {', '.join(names)}"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="engine of both services"
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="time for all parts (default: 9)"
    )
    given = parser.parse_args()
    wanted = [name for name in given.parts.split(",") if name]
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: use {', '.join(names)}")
    outcomes = asyncio.run(check(SCALES[given.scale], wanted, given.minutes, given.engine))
    print(f"written: {OUT.relative_to(ROOT)}/gpu-check.json and gpu-check.md")
    failed = [outcome.part for outcome in outcomes if outcome.error and not outcome.is_left_out]
    left_out = [outcome.part for outcome in outcomes if outcome.is_left_out]
    if left_out:
        print(f"left out, measure them alone with --parts: {', '.join(left_out)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
