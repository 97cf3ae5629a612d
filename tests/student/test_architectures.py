"""Every architecture the whole way: annotate, answer, train, save, load, swap, roll back.

On vLLM (0.32, its CPU build), these checkpoints:

| architecture | vLLM's class | answers | swap in place |
| --- | --- | --- | --- |
| Qwen2-VL | Qwen2VLForConditionalGeneration | test_vllm.py | wrong (test_student_on_vllm.py) |
| Qwen2.5-VL | Qwen2_5_VLForConditionalGeneration | equal to transformers | right |
| Idefics3, SmolVLM | Idefics3ForConditionalGeneration | equal to transformers | right |
| LLaVA | LlavaForConditionalGeneration | equal to transformers | right |
| LLaVA-OneVision | LlavaOnevisionForConditionalGeneration | equal to transformers | right |
| InternVL | InternS1ForConditionalGeneration | equal to transformers | right |
"""

import asyncio
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.presets import Hyperparameters
from services.core.provenance import FinishReason
from services.core.tasks import ANSWER_TEMPLATE, TASKS, answer_prompt
from services.engines.loading import load_model
from services.engines.model import (
    Prompt,
)
from services.engines.rendering import renderer
from services.engines.settings import EngineSettings
from services.student import canaries
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from services.student.manifest import Origin
from services.student.settings import StudentSettings
from tests.serving import serving_student

pytestmark = pytest.mark.slow
NAMES = ("idefics3", "internvl", "llava", "llava_onevision", "qwen2_5_vl", "qwen2_vl")
ON_VLLM = [name for name in NAMES if name != "qwen2_vl"]
ANSWERS = ["red", "a yellow triangle", "no"]


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


def test_every_architecture_is_tried():
    from tests.architectures import ARCHITECTURES

    assert set(NAMES) == set(ARCHITECTURES)


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory):
    """Both versions with their canaries."""

    from services.student.training import train
    from tests.architectures import ARCHITECTURES

    root = tmp_path_factory.mktemp(request.param)
    architecture = ARCHITECTURES[request.param]
    base = architecture.save(root / "base")
    asyncio.run(canaries.compute(base, Contract(), questions()))
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
    asyncio.run(canaries.compute(job / "output", Contract(), questions(), parent=base))
    return Trained(
        name=request.param,
        architecture=architecture,
        base=base,
        output=job / "output",
        datasets=datasets,
        samples=samples,
    )


async def test_it_annotates_and_answers(trained):
    model = await load_model(trained.base, EngineSettings(threads=1))
    short = Decoding(max_new_tokens=8)
    texts = [
        TASKS["vqa"].annotation_prompt,
        *map(answer_prompt, ("what color is it?", "is it a circle?")),
    ]
    prompts = [
        Prompt(question.image, text, short) for question in questions()[:5] for text in texts
    ]
    replies = await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    alone = [await model.generate(prompt) for prompt in prompts]
    await model.close()
    assert [reply.text for reply in replies] == [reply.text for reply in alone]
    assert len({reply.text for reply in replies}) > len(texts), "what is seen makes a difference"
    assert {reply.finish_reason for reply in replies} <= {FinishReason.STOP, FinishReason.LENGTH}


def test_only_the_answer_and_the_end_of_turn_are_learned(trained):
    from transformers import AutoProcessor

    from services.student.encoding import IGNORED, Encoder, collate

    processor = AutoProcessor.from_pretrained(trained.base)
    encoder = Encoder(processor, trained.datasets, ANSWER_TEMPLATE)
    rows = [encoder(sample) for sample in trained.samples[:6]]
    batch = collate(rows, processor.tokenizer.pad_token_id)
    render = renderer(trained.base)
    for row, sample, question in zip(batch["labels"], trained.samples, questions(), strict=False):
        assert (
            processor.tokenizer.decode(row[row != IGNORED])
            == sample.answer + trained.architecture.end_of_turn
        )
        served = render(canaries.prompt_for(question.image, question.text, Contract()))
        assert (row != IGNORED).nonzero()[0] == served.tokens, (
            "the answer follows the prompt as it is served"
        )


def test_a_sample_counts_the_same_alone_and_in_a_batch(trained):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from services.student.encoding import IGNORED, Encoder, collate

    processor = AutoProcessor.from_pretrained(trained.base)
    encoder = Encoder(processor, trained.datasets, ANSWER_TEMPLATE)
    rows = [encoder(sample) for sample in trained.samples[:6]]
    model = AutoModelForImageTextToText.from_pretrained(trained.base, dtype=torch.float32).eval()

    def losses(batch):
        targets = batch.pop("labels")[:, 1:]
        logits = model(**batch).logits[:, :-1]
        return torch.nn.functional.cross_entropy(
            logits.mT, targets, ignore_index=IGNORED, reduction="none"
        ).sum(-1)

    with torch.inference_mode():
        together = losses(collate(rows, processor.tokenizer.pad_token_id))
        alone = torch.cat([losses(dict(row)) for row in rows])
    assert torch.allclose(together, alone, rtol=1e-3)


def test_tower_connector_and_language_model_are_trained(trained):
    import torch
    from safetensors.torch import load_file

    before, after = (
        load_file(folder / "model.safetensors") for folder in (trained.base, trained.output)
    )
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in (
        trained.architecture.vision,
        trained.architecture.connector,
        trained.architecture.language,
    ):
        assert any(part in name for name in moved), part
    unused = re.compile(trained.architecture.unused or "$")
    assert {name for name in before.keys() - moved if not unused.search(name)} == set()


def test_what_is_saved_is_what_was_in_memory(trained, tmp_path):
    import torch

    from services.student.checkpoints import read_student, save

    model, dtype = read_student(trained.base, Hyperparameters(1e-3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    save(model, dtype, trained.base, tmp_path / "saved")
    again, _ = read_student(tmp_path / "saved", Hyperparameters(1e-3))
    other = again.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in model.state_dict().items())


async def test_it_goes_live_and_back(trained, tmp_path):
    async with serving_student(
        _settings(trained, tmp_path, ENGINE="transformers", THREADS=1, SWAP="two_slots")
    ) as peer:
        await _answers_as(peer, "v1", trained.base)
        await _reads_control_tokens_as_text(peer, trained)
        await _promote(peer, trained)
        await _answers_as(peer, "v2", trained.output)
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
        await _answers_as(peer, "v1", trained.base)


@pytest.mark.parametrize("trained", ON_VLLM, indirect=True)
async def test_it_goes_live_in_place_on_vllm(trained, tmp_path):
    settings = _settings(
        trained, tmp_path, ENGINE="vllm", MAX_MODEL_LEN=512, THREADS=2, SWAP="in_place"
    )
    async with serving_student(settings) as peer:
        await _answers_as(peer, "v1", trained.base, agreement=0.9)
        await _reads_control_tokens_as_text(peer, trained)
        engine = peer.student.versions.slot("v1").model
        await _promote(peer, trained)
        await _answers_as(peer, "v2", trained.output, agreement=0.9)
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
        await _answers_as(peer, "v1", trained.base, agreement=0.9)
        assert peer.student.versions.slot("v1").model is engine, "no reload failed its canaries"


def _settings(trained, folder, **variables):
    variables = {**variables, "MODEL": trained.base, "STORE": folder / "store"}
    return StudentSettings.from_env(
        {f"MPA_STUDENT_{name}": str(value) for name, value in variables.items()}
    )


async def _promote(peer, trained):
    peer.student.store.add(trained.output, Origin(parent="v1"), Contract())
    await peer.versions.PromoteVersion(
        versions_pb2.PromoteVersionRequest(name="v2", expected_live="v1")
    )


async def _answers_as(peer, version, folder, agreement=1.0):
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


async def _reads_control_tokens_as_text(peer, trained):
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
