"""Does selection pay? The same student, the same annotations, other choices of what to train on, several seeds.

    python -m benchmarks.arms --run runs/demo --labelled runs/easy-vqa/test.jsonl --seeds 3

Takes the annotations of a finished run (`make demo`), so no arm costs a teacher call. Each arm trains through the real student
service from the run's own base version and is measured on the labelled set. Finished arms are kept in
benchmarks/results/arms.json: repeating the command goes on where it was.

    rehearsal         the gap and as many samples that the student had right
    paper             the gap alone
    random            as many as the gap, drawn from all annotations
    random-rehearsal  as many as `rehearsal` trains on, drawn from all annotations
    all               every annotation (MPA without PI)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from protos.mpa.v1 import training_pb2
from services.core.evaluation import Judgement, compare
from services.core.metrics import METRICS
from services.core.parity import Sample, select
from services.core.tasks import TASKS
from services.orchestrator.exam import sit
from services.orchestrator.images.opening import open_images
from services.orchestrator.images.reading import read_again
from services.orchestrator.images.source import Source
from services.orchestrator.labelled import labelled_images, read_labelled
from services.orchestrator.ledger import Ledger
from services.orchestrator.local import local_services
from services.orchestrator.progress import Progress
from services.orchestrator.settings import Settings
from services.rpc.client import Picture, StudentClient

RESULTS = Path(__file__).parent / "results" / "arms.json"
REHEARSAL_RATIO = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """One training measured. Accuracies 0 to 1; `kinds` before and after by kind of question."""

    arm: str
    seed: int
    samples: int
    zero_shot: float
    accuracy: float
    fixed: int
    broken: int
    kinds: dict[str, tuple[float, float]]
    train_seconds: float


def choose(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """What each arm trains on; `samples` are all annotations of the images that aren't held out."""
    shuffled = sorted(samples, key=lambda sample: sample.key)[::-1]
    gap, rehearsal = select(samples), select(samples, REHEARSAL_RATIO)
    return {
        "rehearsal": rehearsal,
        "paper": gap,
        "random": shuffled[: len(gap)],
        "random-rehearsal": shuffled[: len(rehearsal)],
        "all": shuffled,
    }


async def _parts(
    images: Source, paths: dict[str, str], samples: Sequence[Sample]
) -> AsyncIterator[training_pb2.UploadDatasetRequest]:
    for sha256 in dict.fromkeys(sample.image_sha256 for sample in samples):
        picture = await asyncio.to_thread(read_again, images, paths[sha256], sha256)
        yield training_pb2.UploadDatasetRequest(image=picture.data)
    for sample in samples:
        yield training_pb2.UploadDatasetRequest(
            sample=training_pb2.TrainingSample(image_sha256=sample.image_sha256, question=sample.question, answer=sample.answer)
        )


async def train(student: StudentClient, dataset: str, arm: str, seed: int, progress: Progress) -> tuple[str, float]:
    """The new version, and the seconds that it took."""
    request = training_pb2.TrainRequest(
        request_id=f"arms-{arm}-{seed}-{dataset[:12]}",
        dataset=dataset,
        base_version="v1",
        run="arms",
        recipe=arm,
        hyperparameters=training_pb2.Hyperparameters(seed=seed),
    )
    state = await student.train(request)
    began = asyncio.get_running_loop().time()
    with progress.stage(f"{arm} {seed}", "steps", state.total_steps) as meter:
        while not state.version:
            if state.error is not None:
                raise state.error
            meter.total = state.total_steps
            meter.set_done(state.step, f"loss {state.loss:.3f}")
            await asyncio.sleep(0.5)
            state = await student.training(state.operation)
    return state.version, asyncio.get_running_loop().time() - began


async def answers_of(student: StudentClient, version: str, labelled: Path, progress: Progress) -> list[float]:
    async def respond(picture: Picture, question: str, version: str) -> str:
        return (await student.answer(picture, question, version=version)).answer

    metric = METRICS[TASKS["vqa"].metric]
    exam = await sit(
        labelled_images(labelled), read_labelled(labelled), {"it": partial(respond, version=version)}, progress, version
    )
    return [metric(sat.answers["it"], sat.case.references) for sat in exam.sat]


def _stored() -> list[Result]:
    return [Result(**row) for row in json.loads(RESULTS.read_text())] if RESULTS.is_file() else []


async def measure(run: Path, labelled: Path, seeds: int, progress: Progress) -> list[Result]:
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    records = [record for record in ledger.records() if not record.held_out]
    settings = Settings.from_json(ledger.meta("settings"))
    images = open_images(settings.images)
    ledger.close()
    paths = {record.image_sha256: record.path for record in records}
    arms = choose([Sample(record.image_sha256, record.question, record.answer, record.cell) for record in records])
    kinds = [case.kind for case in read_labelled(labelled)]
    results = _stored()
    done = {(result.arm, result.seed) for result in results}
    async with local_services(run.parent / "arms", ("student",), progress, {}) as at, StudentClient(at.student) as student:
        before = await answers_of(student, "v1", labelled, progress)
        for seed in range(seeds):
            for arm, samples in arms.items():
                if (arm, seed) in done:
                    continue
                dataset = await student.upload(partial(_parts, images, paths, samples))
                version, seconds = await train(student, dataset, arm, seed, progress)
                await student.load(version)
                after = await answers_of(student, version, labelled, progress)
                comparison = compare(map(Judgement, kinds, before, after))
                by_kind = {kind: (tally.before, tally.after) for kind, tally in comparison.kinds.items()}
                overall = comparison.overall
                results.append(
                    Result(
                        arm, seed, len(samples), overall.before, overall.after, overall.fixed, overall.broken, by_kind, seconds
                    )
                )
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
                progress.note(f"{arm} seed {seed}: {overall.before:.1%} -> {overall.after:.1%}")
    return results


def show(results: Sequence[Result]) -> Table:
    table = Table("arm", "samples", "zero-shot", "aligned, mean (min to max)", "points", "fixed", "broken", "by kind, points")
    by_arm: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_arm[result.arm].append(result)
    for arm, rows in by_arm.items():
        accuracies = [row.accuracy for row in rows]
        mean, zero_shot = statistics.mean(accuracies), rows[0].zero_shot
        gains = {kind: statistics.mean(row.kinds[kind][1] - row.kinds[kind][0] for row in rows) * 100 for kind in rows[0].kinds}
        table.add_row(
            arm,
            str(rows[0].samples),
            f"{zero_shot:.1%}",
            f"{mean:.1%} ({min(accuracies):.1%} to {max(accuracies):.1%})",
            f"{(mean - zero_shot) * 100:+.1f}",
            f"{statistics.mean(row.fixed for row in rows):.0f}",
            f"{statistics.mean(row.broken for row in rows):.0f}",
            ", ".join(f"{kind} {gain:+.1f}" for kind, gain in gains.items()),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--labelled", type=Path, default=Path("runs/easy-vqa/test.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    console = Console()
    with Progress(Console(stderr=True)) as progress:
        results = asyncio.run(measure(given.run, given.labelled, given.seeds, progress))
    console.print(show(results))


if __name__ == "__main__":
    main()
