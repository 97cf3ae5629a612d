"""A published InternVL2 in vLLM: it answers as its conversion in transformers, and teaches."""

import asyncio
import io

import pytest
import pytest_asyncio
from PIL import Image, ImageDraw

from services.core.annotation import Annotation
from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.tasks import TASKS, answer_prompt
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.serving import of_checkpoint
from services.engines.settings import EngineSettings
from services.engines.teacher import HostedTeacher
from services.teacher.settings import TeacherSettings
from tests.internvl2 import TILE, ask_in_conversation, save_internvl2

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

QUESTIONS = ("What color is the shape?", "Is there a circle?", "How many shapes are there?")
TILES = {1: (TILE, TILE), 7: (3 * TILE, 2 * TILE)}
"""Sizes of images by their number of tiles, thumbnail included."""


def prompts(size, count):
    """Questions about drawn shapes."""
    found = []
    for number in range(count):
        canvas = Image.new("RGB", size, (37 * number % 256, 91 * number % 256, 255 - number))
        box = (number % 9, number % 5, size[0] - 3 - number % 7, size[1] - 2)
        draw = ImageDraw.Draw(canvas)
        (draw.ellipse if number % 2 else draw.rectangle)(
            box, fill=("red", "teal", "white")[number % 3]
        )
        file = io.BytesIO()
        canvas.save(file, "PNG")
        text = answer_prompt(QUESTIONS[number % len(QUESTIONS)])
        found.append(
            Prompt(load_image(file.getvalue()), text, Decoding(max_new_tokens=8), scored=True)
        )
    return found


@pytest.fixture(scope="module", params=["internlm2"])
def both(request, tmp_path_factory):
    """A published folder, asked in its conversation format, and its conversion."""
    from services.engines.conversion.conversion import convert

    root = tmp_path_factory.mktemp(request.param)
    published = save_internvl2(root / "published", request.param)
    convert(str(published), root / "converted")
    ask_in_conversation(published, root / "converted")
    return published, root / "converted"


@pytest.fixture(scope="module")
def settings(both):
    """Of a teacher on vLLM with the published folder."""
    given = {
        "MODEL": both[0],
        "PRESET": "internvl2-8b",
        "ENGINE": "vllm",
        "TRUST_REMOTE_CODE": 1,
        "MAX_MODEL_LEN": 1024,
        "THREADS": 1,
    }
    return TeacherSettings.from_env(
        {f"MPA_TEACHER_{name}": str(one) for name, one in given.items()}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def published(both, settings):
    """The published folder in vLLM."""
    engine = await load_model(both[0], settings.engine)
    yield engine
    await engine.close()


async def test_it_answers_as_its_conversion_in_transformers(both, published):
    asked = [prompt for size in TILES.values() for prompt in prompts(size, 64)]
    native = await asyncio.gather(*(published.generate(prompt) for prompt in asked))
    converted = await load_model(both[1], EngineSettings(threads=1))
    ours = await asyncio.gather(*(converted.generate(prompt) for prompt in asked))
    await converted.close()
    assert [a.prompt_tokens for a in native] == [b.prompt_tokens for b in ours]
    assert len({reply.prompt_tokens for reply in ours}) > 3
    errors = [
        abs(a.logprob - b.logprob) for a, b in zip(native, ours, strict=True) if a.text == b.text
    ]
    alike = len(errors)
    assert len({reply.text for reply in ours}) > 12, "image and question make a difference"
    assert alike >= 126
    assert max(errors) < 0.01


async def test_it_annotates_and_answers_as_a_teacher(both, published, settings):
    serving = of_checkpoint(both[0], settings.engine, settings.preset.name, settings.model)
    teacher = HostedTeacher(published, serving)
    image = prompts(TILES[1], 1)[0].image
    sampled = Decoding(max_new_tokens=512, temperature=0.7, seed=3)
    annotated = await teacher.annotate(image, TASKS["vqa"], "", sampled, guided=True)
    assert isinstance(annotated.outcome, Annotation)
    assert (await teacher.answer(image, annotated.outcome.question, "", Decoding())).text


async def test_its_code_does_not_run_without_leave(both):
    with pytest.raises(InvalidInput, match="MPA_\\*_TRUST_REMOTE_CODE=1"):
        await load_model(both[0], EngineSettings(engine="vllm"))


async def test_transformers_names_the_other_ways(both):
    with pytest.raises(InvalidInput, match="set ENGINE=vllm, or convert it by `mpa-orch models"):
        await load_model(both[0], EngineSettings(trust_remote_code=True))
