"""Canaries: questions stored with every version, and the answers computed when it was made.

    VERSION/canaries/{canaries.json, <image sha256>, ...}

The reference engine (transformers) computes the answers from the checkpoint on disk: in the
training process for a trained version, at its import for the first one. After every load, on any
engine, the canaries are asked again. A version never goes live if its answers or its rendered
prompts differ. For half of a trained version's canaries its parent gives another answer, so old
weights left in place can't pass.

    python -m services.student.canaries VERSION CONTRACT_JSON
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw

from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.tasks import answer_prompt
from services.engines.images import LoadedImage, load_image, load_stored_image
from services.engines.loading import load_model
from services.engines.model import Prompt, Reply
from services.engines.rendering import Rendering, renderer
from services.engines.settings import EngineSettings
from services.files import write_atomically
from services.student.datasets import DatasetStore
from services.student.job import Job

COUNT = 32
CANDIDATES = 192
FOLDER = "canaries"
_FILE = "canaries.json"
_COLORS = ("red", "green", "blue", "teal", "gray", "brown", "yellow", "black")
_QUESTIONS = (
    "What color is the shape?",
    "What shape is in the image?",
    "Is there a circle?",
    "How many shapes are there?",
)


@dataclass(frozen=True, slots=True)
class CanaryQuestion:
    """A question about an image. `data` is the image file."""

    image: LoadedImage
    data: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Canary:
    """One stored question with its expected answer."""

    image_sha256: str
    question: str
    answer: str
    logprob: float
    """Natural logarithm of the answer's probability."""
    changed: bool
    """Whether the parent version gives another answer."""
    rendering: Rendering
    is_halved: bool = False
    """Whether large images are halved; False in files of earlier releases, which lack the key."""

    def image(self, folder: Path) -> LoadedImage:
        """The image, for a version in `folder`."""
        data = (folder / FOLDER / self.image_sha256).read_bytes()
        return load_stored_image(data, is_halved=self.is_halved)


def synthetic_questions() -> list[CanaryQuestion]:
    """Questions about drawn shapes of several sizes, for a version without a dataset."""
    questions = []
    for number in range(COUNT):
        color = _COLORS[number % len(_COLORS)]
        size = (64 + 16 * (number % 5), 64 + 24 * (number % 3))
        canvas = Image.new("RGB", size, "white")
        box = (8, 8, size[0] - 8 - number % 7, size[1] - 8)
        draw = ImageDraw.Draw(canvas)
        (draw.ellipse if number % 2 else draw.rectangle)(box, fill=color)
        file = io.BytesIO()
        canvas.save(file, "PNG")
        questions.append(
            CanaryQuestion(
                load_image(file.getvalue()), file.getvalue(), _QUESTIONS[number % len(_QUESTIONS)]
            )
        )
    return questions


def prompt_for(image: LoadedImage, question: str, contract: Contract) -> Prompt:
    """The prompt of a canary, by the version's own contract.

    Decoding is greedy, because engines draw samples differently.
    """
    decoding = replace(contract.decoding, temperature=0.0, top_p=1.0)
    return Prompt(
        image,
        answer_prompt(question, contract.answer_template),
        decoding,
        contract.system_prompt,
        scored=True,
    )


def reference_settings(folder: Path, device: str = "") -> EngineSettings:
    """Settings of the engine that computes the expected answers."""
    engine = "fake" if (folder / "fake.json").is_file() else "transformers"
    return EngineSettings(engine=engine, device=device)


async def compute(
    folder: Path,
    contract: Contract,
    questions: Sequence[CanaryQuestion],
    *,
    parent: Path | None = None,
    device: str = "",
) -> None:
    """Write the canaries of the checkpoint in `folder`: the COUNT most telling of `questions`."""
    answers = await _answers(folder, contract, questions, device)
    before = await _answers(parent, contract, questions, device) if parent else answers
    is_changed = [ours.text != theirs.text for ours, theirs in zip(answers, before, strict=True)]
    changed = [number for number, differs in enumerate(is_changed) if differs]
    same = [number for number, differs in enumerate(is_changed) if not differs]
    telling = changed[: max(COUNT // 2, COUNT - len(same))]
    chosen = sorted(telling + same[: COUNT - len(telling)])
    render = await asyncio.to_thread(renderer, folder)
    canaries = []
    for number in chosen:
        question = questions[number]
        rendering = await asyncio.to_thread(
            render, prompt_for(question.image, question.text, contract)
        )
        answer = answers[number]
        canaries.append(
            Canary(
                image_sha256=question.image.sha256,
                question=question.text,
                answer=answer.text,
                logprob=answer.logprob,
                changed=is_changed[number],
                rendering=rendering,
                is_halved=True,
            )
        )
    images = {questions[number].image.sha256: questions[number].data for number in chosen}
    await asyncio.to_thread(_write, folder / FOLDER, canaries, images)


def _write(folder: Path, canaries: Sequence[Canary], images: Mapping[str, bytes]) -> None:
    for sha256, data in images.items():
        write_atomically(folder / sha256, data)
    text = json.dumps([asdict(canary) for canary in canaries], indent=1, ensure_ascii=False)
    write_atomically(folder / _FILE, text)


async def compute_for_training(job: Job, output: Path, device: str = "") -> None:
    """Write the canaries of a trained checkpoint, from questions of its training samples."""
    base = Path(job.base_folder)
    datasets = DatasetStore(Path(job.store))
    samples = datasets.samples(job.dataset)
    questions = []
    for sample in random.Random(job.hyperparameters.seed).sample(
        samples, min(CANDIDATES, len(samples))
    ):
        data = datasets.image_path(sample.image_sha256).read_bytes()
        questions.append(CanaryQuestion(load_stored_image(data), data, sample.question))
    await compute(output, job.contract, questions, parent=base, device=device)


async def _answers(
    folder: Path, contract: Contract, questions: Sequence[CanaryQuestion], device: str
) -> list[Reply]:
    model = await load_model(folder, reference_settings(folder, device=device))
    try:
        prompts = [prompt_for(question.image, question.text, contract) for question in questions]
        return await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    finally:
        await model.close()


def read(folder: Path) -> list[Canary]:
    """The canaries of a version; empty if it has none. Raises InvalidInput: the file is damaged."""
    path = folder / FOLDER / _FILE
    if not path.is_file():
        return []
    try:
        return [
            Canary(**{**raw, "rendering": Rendering(**raw["rendering"])})
            for raw in json.loads(path.read_text())
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"the canaries of version {folder.name} can't be read ({error}): "
            f"remove {path}, and they are computed again",
            reason="VERSION_CORRUPT",
        ) from error


if __name__ == "__main__":
    _, version, terms = sys.argv
    asyncio.run(compute(Path(version), Contract(**json.loads(terms)), synthetic_questions()))
