"""Canaries: questions that every version carries, with the answers that were computed when it was made.

    VERSION/canaries/{canaries.json, <image sha256>, ...}

They are computed by the reference engine (transformers) from the checkpoint as it lies on disk, by the training process for
a trained version, at its import for the first. After any load, whatever engine, they are asked again: a version that answers
otherwise, or whose prompts are rendered otherwise, never goes live. Half of a trained version's canaries are questions that
it answers otherwise than the version before, so that old weights left in place can't pass.

    python -m services.student.canaries VERSION
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw

from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.tasks import answer_prompt
from services.engines.images import LoadedImage, load_image, load_stored_image
from services.engines.loading import load_model
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.rendering import Rendering, renderer
from services.engines.settings import EngineSettings
from services.files import write_atomically
from services.student.datasets import DatasetStore
from services.student.job import Job

COUNT = 32
CANDIDATES = 192
AGREEMENT = 0.9
"""Share of the canaries, and of those that tell a version from its parent, that must pass. Not all: another engine, or another
number format, may tip an answer on the edge."""
TOLERANCE, COARSE_TOLERANCE = 0.01, 0.2
"""How far the logarithm of an answer's probability may be off, in float32 and in shorter formats. Measured in float32, vLLM
against transformers: 1e-5 with the right weights, 0.12 (median) where a part of them was not replaced, by which most answers
stayed what they should be."""

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
    """A question about an image."""

    image: LoadedImage
    data: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Canary:
    """`logprob` of the answer, a natural logarithm; `changed`: the parent version answers otherwise.

    `is_halved`: its image was, if large; files of releases that kept all pixels don't say so.
    """

    image_sha256: str
    question: str
    answer: str
    logprob: float
    changed: bool
    rendering: Rendering
    is_halved: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """How many canaries there are, and how many were answered as they should be."""

    total: int
    passed: int


def synthetic_questions() -> list[CanaryQuestion]:
    """For a version that no data set comes with: drawn shapes, of several sizes and proportions."""
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
    """How a version is asked: its own instruction, system turn and length; greedily, since engines draw samples differently."""
    decoding = replace(contract.decoding, temperature=0.0, top_p=1.0)
    return Prompt(
        image,
        answer_prompt(question, contract.answer_template),
        decoding,
        contract.system_prompt,
        scored=True,
    )


def reference_settings(folder: Path, dtype: str = "auto", device: str = "") -> EngineSettings:
    """The engine that the canaries' answers are computed by."""
    return EngineSettings(
        engine="fake" if (folder / "fake.json").is_file() else "transformers",
        dtype=dtype,
        device=device,
    )


async def compute(
    folder: Path,
    contract: Contract,
    questions: Sequence[CanaryQuestion],
    *,
    parent: Path | None = None,
    device: str = "",
) -> None:
    """Writes the canaries of the checkpoint in `folder` beside its weights: of `questions`, the most telling COUNT."""
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
        write_atomically(folder / FOLDER / question.image.sha256, question.data)
    text = json.dumps([asdict(canary) for canary in canaries], indent=1, ensure_ascii=False)
    write_atomically(folder / FOLDER / _FILE, text)


async def compute_for_training(job: Job, output: Path, device: str = "") -> None:
    """The canaries of the checkpoint that a training has made, from questions that it was trained on, asked as it will be."""
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
    """Empty where the version has none. Raises InvalidInput: a file that is not of this format."""
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
            f"the canaries of version {folder.name} can't be read ({error}): remove {path}, and they are computed anew",
            reason="VERSION_CORRUPT",
        ) from error


async def check(
    model: VisionLanguageModel,
    folder: Path,
    contract: Contract,
    tolerance: float,
    *,
    trust_remote_code: bool = False,
) -> Checked:
    """Asks a loaded version its canaries. One passes if the answer is the same, and as probable within `tolerance`.

    Raises InvalidInput: CONTRACT_BROKEN (a prompt is rendered otherwise than when the version was made), or CANARY_FAILED
    (too many answers differ: the weights in memory are not the version's).
    """
    canaries = await asyncio.to_thread(read, folder)
    render = await asyncio.to_thread(renderer, folder, trust_remote_code)
    prompts = []
    for canary in canaries:
        image = await asyncio.to_thread(_image, folder, canary)
        prompts.append(prompt_for(image, canary.question, contract))
        _require_same_rendering(folder.name, canary, await asyncio.to_thread(render, prompts[-1]))
    replies = await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    for canary, reply in zip(canaries, replies, strict=True):
        if reply.prompt_tokens != canary.rendering.tokens:
            raise InvalidInput(
                f"version {folder.name}: this engine makes {reply.prompt_tokens} tokens of {canary.question!r} and its image, "
                f"the version was trained on {canary.rendering.tokens}",
                reason="CONTRACT_BROKEN",
            )
    passed = [
        canary.answer == reply.text and abs(canary.logprob - reply.logprob) <= tolerance
        for canary, reply in zip(canaries, replies, strict=True)
    ]
    telling = [right for right, canary in zip(passed, canaries, strict=True) if canary.changed]
    if sum(passed) < AGREEMENT * len(passed) or sum(telling) < AGREEMENT * len(telling):
        raise InvalidInput(
            f"version {folder.name}: only {sum(passed)} of {len(passed)} canary questions are answered as its trainer computed "
            f"({sum(telling)} of {len(telling)} that tell it from its parent): the weights in memory are not the version's",
            reason="CANARY_FAILED",
        )
    return Checked(len(passed), sum(passed))


def _image(folder: Path, canary: Canary) -> LoadedImage:
    return load_stored_image(
        (folder / FOLDER / canary.image_sha256).read_bytes(), is_halved=canary.is_halved
    )


def _require_same_rendering(version: str, canary: Canary, found: Rendering) -> None:
    if found == canary.rendering:
        return
    what = "the pixel grid" if found.token_ids == canary.rendering.token_ids else "the token ids"
    raise InvalidInput(
        f"version {version} must not be served here: {what} of a prompt ({canary.question!r}) differ from those it was trained "
        f"on ({found.tokens} tokens, {found.grid} here; {canary.rendering.tokens} tokens, {canary.rendering.grid} there). "
        "Another transformers release? Serve it with the one that trained it",
        reason="CONTRACT_BROKEN",
    )


def main(folder: Path, contract: Contract) -> None:
    asyncio.run(compute(folder, contract, synthetic_questions()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Contract(**json.loads(sys.argv[2])))
