"""Trained versions of every architecture, and a student that serves them."""

import asyncio
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.engines.rendering import renderer
from services.student import canaries, reference
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from services.student.manifest import Origin
from services.student.settings import StudentSettings

NAMES = (
    "idefics3",
    "internvl",
    "internvl2_internlm2",
    "internvl2_phi3",
    "llava",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen2_vl",
    "tinyllava",
)
ANSWERS = ("red", "a yellow triangle", "no")


@dataclass(frozen=True)
class Trained:
    """A checkpoint, its version after two training steps, and the samples."""

    name: str
    architecture: Any
    base: Path
    output: Path
    datasets: DatasetStore
    samples: list[TrainingSample]


@cache
def questions():
    """Questions about images of many proportions, so that numbers of tiles differ."""
    return canaries.synthetic_questions()


def train_both(name, root):
    """Both versions with their canaries."""
    from services.student.training import train
    from tests.architectures import ARCHITECTURES

    architecture = ARCHITECTURES[name]
    base = architecture.save(root / "base")
    asyncio.run(reference.compute(base, Contract(), questions()))
    datasets = DatasetStore(root)
    samples = [
        TrainingSample(datasets.add_image(question.data), question.text, ANSWERS[number % 3])
        for number, question in enumerate(questions()[:16])
    ]
    settings = Hyperparameters(learning_rate=1e-2, batch_size=8, epochs=1)
    job = root / "jobs" / "job"
    Job(
        id="job",
        base_version="v1",
        base_folder=str(base),
        dataset=datasets.add(samples),
        contract=Contract(),
        hyperparameters=settings,
        store=str(root),
        execution=Execution(micro_batch=4),
    ).write(job)
    train(job)
    asyncio.run(reference.compute(job / "output", Contract(), questions(), parent=base))
    return Trained(
        name=name,
        architecture=architecture,
        base=base,
        output=job / "output",
        datasets=datasets,
        samples=samples,
    )


def settings_of(trained, folder, **variables):
    variables = {**variables, "MODEL": trained.base, "STORE": folder / "store"}
    return StudentSettings.from_env(
        {f"MPA_STUDENT_{name}": str(value) for name, value in variables.items()}
    )


async def promote(peer, trained):
    peer.student.store.add(trained.output, Origin(parent="v1"), Contract())
    await peer.versions.PromoteVersion(
        versions_pb2.PromoteVersionRequest(name="v2", expected_live="v1")
    )


async def answers_as(peer, version, folder, agreement=1.0):
    """The answers equal those of transformers with the checkpoint in `folder`."""
    expected = canaries.read(folder)
    requests = [
        student_pb2.AnswerRequest(
            image=types_pb2.Image(
                data=(folder / canaries.FOLDER / canary.image_sha256).read_bytes()
            ),
            question=canary.question,
        )
        for canary in expected
    ]
    found = await asyncio.gather(*(peer.answers.Answer(request) for request in requests))
    assert {answer.version for answer in found} == {version}
    alike = sum(
        answer.answer == canary.answer for answer, canary in zip(found, expected, strict=True)
    )
    assert alike >= agreement * len(expected), (
        f"{alike} of {len(expected)} answers are those of {version}"
    )


async def reads_control_tokens_as_text(peer, trained):
    """A question with a control token has as many tokens as in training."""

    from transformers import AutoProcessor

    tokenizer = AutoProcessor.from_pretrained(trained.base).tokenizer
    render = renderer(trained.base)
    marks = [added.content for added in tokenizer.added_tokens_decoder.values()]
    image = questions()[0]
    asked = [
        student_pb2.AnswerRequest(image=types_pb2.Image(data=image.data), question=mark)
        for mark in marks
    ]
    found = await asyncio.gather(*(peer.answers.Answer(request) for request in asked))
    expected = [render(canaries.prompt_for(image.image, mark, Contract())).tokens for mark in marks]
    assert [answer.usage.prompt_tokens for answer in found] == expected
