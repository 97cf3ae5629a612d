"""Teacher and student with the presets of a real pair: both see the same pixels of an image."""

import pytest
from PIL import Image

from services.core.decoding import GREEDY
from services.core.pixels import PixelBudget
from services.core.tasks import ANSWER_TEMPLATE
from services.engines.images import load_image
from services.orchestrator.images.shrinking import as_sent
from services.rpc.client import StudentClient, TeacherClient
from tests.e2e.processes import serving
from tests.pictures import encoded

pytestmark = pytest.mark.slow
QUESTION = "what color is it?"
SIZES = ((4000, 3000), (120, 80))
BUDGET = PixelBudget(1_003_520, 28)


async def tokens(model, size):
    """Tokens of a prompt about an image of this size, as the orchestrator sends it."""
    image = load_image(encoded(Image.new("RGB", size, "teal"), "JPEG"))
    reply = await model.answer(as_sent(image, BUDGET), QUESTION, ANSWER_TEMPLATE, GREEDY)
    return reply.provenance.usage.prompt_tokens


async def test_a_photo_and_a_thumbnail_are_as_many_tokens_for_both(
    tmp_path, tiny_checkpoint, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    usual = {"model": tiny_checkpoint, "engine": "transformers", "device": "cpu"}
    with serving("student", tmp_path, preset="qwen2vl-2b", store=tmp_path / "store", **usual) as at:
        async with StudentClient(at.address) as student:
            sizes = (await student.version("v1")).contract.pixel_budget
            by_student = [await tokens(student, size) for size in SIZES]
    with serving("teacher", tmp_path, preset="qwen2vl-7b", **usual) as at:
        async with TeacherClient(at.address) as teacher:
            model = await teacher.model()
            by_teacher = [await tokens(teacher, size) for size in SIZES]
    assert PixelBudget.of(sizes) == PixelBudget.of(model.pixel_budget) == BUDGET
    assert by_student == by_teacher
    photo, thumbnail = by_teacher
    assert photo - thumbnail == 1230 - 280
