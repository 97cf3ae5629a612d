"""Annotate, answer, answer: the orchestrator's stream on vLLM, against the engines' offline rates.

    python -m benchmarks.pipeline_offline --model bundled

The other side is the time of the run's own calls offline, by `LLM.generate` with all prompts of a
stage at once: the teacher's annotations, its answers, the student's answers, one after another.
Each engine then has the machine to itself. Ours runs them side by side on the same cores, which
gains nothing: the sum is the best possible time.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.calls import Call, annotation_calls, answer_calls
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.pipeline import align
from benchmarks.processes import Peer, peer, serving, threads_for
from benchmarks.questions import copy_images
from benchmarks.row import Pair, Question, Row
from services.orchestrator.run.run import read_run

IMAGES = 640
ENGINE = "vllm"


@dataclass(frozen=True, slots=True)
class Stage:
    """Number of calls of one kind, and their seconds offline."""

    calls: int
    seconds: float


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "bundled" or not given.engines([ENGINE]):
        return
    images = given.share(IMAGES)
    threads = threads_for(model)
    folder = work_folder("pipeline-offline")
    weights = {role: checkpoint(model, role) for role in ("teacher", "student")}
    pairs: list[Pair] = []
    stages: list[Mapping[str, Stage]] = []
    async with (
        peer(
            "vllm_offline", folder / "teacher-alone", threads, str(weights["teacher"]), model
        ) as teacher_alone,
        peer(
            "vllm_offline", folder / "student-alone", threads, str(weights["student"]), model
        ) as student_alone,
        serving("teacher", folder, threads, model=weights["teacher"], engine=ENGINE) as teacher,
        serving("student", folder, threads, model=weights["student"], engine=ENGINE) as student,
    ):
        for number in range(given.runs + 1):
            run = folder / f"run-{number}"
            chosen = copy_images(folder / f"pool-{number}", number * images, images)
            seconds = await align(run, chosen, teacher, student, full_matrix=False)
            alone = await offline(run, teacher_alone, student_alone)
            if number:  # the first one warms both sides up
                pairs.append(
                    Pair(images / seconds, images / sum(stage.seconds for stage in alone.values()))
                )
                stages.append(alone)
    question = Question(
        name=f"pipeline-offline-{ENGINE}-{model}",
        what="whole pipeline",
        other="the calls of each stage through LLM.generate offline, added up",
        model=model,
        engine=ENGINE,
        unit="images/s",
        at_least=0.9,
    )
    yield question.row(pairs, images_per_run=images, threads_each=threads, **offline_rates(stages))


async def offline(folder: Path, teacher: Peer, student: Peer) -> dict[str, Stage]:
    """Repeats the calls of the run in `folder`."""
    with read_run(folder) as run:
        return {
            "annotations": await _alone(teacher, list(annotation_calls(run))),
            "teacher_answers": await _alone(teacher, list(answer_calls(run, "teacher"))),
            "student_answers": await _alone(student, list(answer_calls(run, "student"))),
        }


async def _alone(engine: Peer, made: Sequence[Call]) -> Stage:
    reply = await engine.ask(calls=[call.written() for call in made])
    return Stage(len(made), reply["seconds"])


def offline_rates(runs: Sequence[Mapping[str, Stage]]) -> dict[str, float]:
    """Medians over the runs: calls of each stage, and its engine's calls/s offline."""
    found: dict[str, float] = {}
    for name in runs[0]:
        stages = [run[name] for run in runs]
        found[name] = statistics.median(stage.calls for stage in stages)
        found[f"{name}_per_s_offline"] = round(
            statistics.median(stage.calls / stage.seconds for stage in stages), 1
        )
    return found


if __name__ == "__main__":
    arguments.run([measure], __doc__)
