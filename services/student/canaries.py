"""Canaries: questions stored with every version, and the scores computed when it was made.

    VERSION/canaries/{canaries.json, <image sha256>, ...}

The reference engine (transformers, in float32) answers them from the checkpoint on disk: in the
training process for a trained version, at its import for the first one. It scores its own reply,
token by token: in bfloat16, too, which measures the noise of rounding, and with each part of the
parent's weights left in place, which shows what stale weights look like. After every load, on any
engine, the replies are scored again (canary_check.py). A version never goes live if its scores or
its rendered prompts differ.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.tasks import answer_prompt
from services.engines.images import LoadedImage, load_image, load_stored_image
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.rendering import Rendering
from services.files import write_atomically

COUNT = 32
FOLDER = "canaries"
PARENT = "parent"
"""Name of the parent's weights as a whole."""
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
    """One stored question with its expected answer. All logarithms are natural ones."""

    image_sha256: str
    question: str
    answer: str
    logprob: float
    """Logarithm of the answer's probability."""
    changed: bool
    """Whether the parent version gives another answer, in files of earlier releases."""
    rendering: Rendering
    is_halved: bool = False
    """Whether large images are halved; False in files of earlier releases, which lack the key."""
    token_ids: tuple[int, ...] = ()
    """Tokens of the answer; empty, like the fields below, in files of earlier releases."""
    logprobs: tuple[float, ...] = ()
    """Logarithm of the probability of each of the question's last tokens and the answer's.

    Computed in float32.
    """
    rounded: tuple[float, ...] = ()
    """The same, computed in bfloat16; empty if the serving engine computed the canaries."""
    stale: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The same with weights of the parent: PARENT for all of them, or a part of the model."""
    prompt_tokens: int = 0
    """Tokens of the prompt on the engine that computed the canaries; 0: those of `rendering`."""

    def image(self, folder: Path) -> LoadedImage:
        """The image, stored with the canaries in `folder`."""
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


def are_stored(folder: Path) -> bool:
    """Whether a folder has canaries, whole or damaged."""
    return (folder / FOLDER / _FILE).is_file()


def read(folder: Path) -> list[Canary]:
    """The canaries in a version's folder, or in another place; empty if there are none.

    Raises InvalidInput: the file is damaged.
    """
    if not are_stored(folder):
        return []
    path = folder / FOLDER / _FILE
    try:
        return [_canary(raw) for raw in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"the canaries of version {folder.name} can't be read ({error}): "
            f"remove {path}, and they are computed again",
            reason="VERSION_CORRUPT",
        ) from error


def _canary(raw: dict[str, Any]) -> Canary:
    tokens = {name: tuple(raw.get(name, ())) for name in ("token_ids", "logprobs", "rounded")}
    return Canary(**{**raw, **tokens, "rendering": Rendering(**raw["rendering"])})


def write(folder: Path, canaries: Sequence[Canary], questions: Sequence[CanaryQuestion]) -> None:
    """Store canaries in a version's folder, or in another place, with their questions' images."""
    for question in questions:
        write_atomically(folder / FOLDER / question.image.sha256, question.data)
    text = json.dumps([asdict(canary) for canary in canaries], indent=1, ensure_ascii=False)
    write_atomically(folder / FOLDER / _FILE, text)


async def ask(model: VisionLanguageModel, prompts: Sequence[Prompt]) -> list[Reply]:
    """Replies to all prompts."""
    return await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
