"""Models that an actor loads: their replies equal the service's."""

import asyncio
import os
import sys
from dataclasses import replace

import pytest

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput, WrongState
from services.core.pixels import PixelBudget
from services.core.presets import PRESETS
from services.core.tasks import ANSWER_TEMPLATE
from services.engines.choice import ZOO
from services.engines.images import sha256
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from services.engines.teacher import HostedTeacher
from services.orchestrator.distributed.models import Loaded, loaded
from services.rpc.client import Picture, StudentClient
from services.rpc.images import ImageReceiver
from services.rpc.wire import decoding_to_proto
from services.teacher.servicer import TeacherServicer
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint, fake_student_settings, serving_student

FAKE = EngineSettings(engine="fake")
DATA = numbered_png(7)
PICTURE = Picture(sha256(DATA), DATA)


async def test_a_teacher_annotates_and_answers(tmp_path):
    folder = fake_checkpoint(tmp_path, skill=0.9, unparsed=0.5)
    servicer = TeacherServicer(lambda: served, ImageReceiver())
    served = HostedTeacher(await load_model(folder, FAKE))
    teacher = await Loaded(str(folder), FAKE).teacher()
    rejections = set()
    for seed in range(12):
        decoding = Decoding(temperature=1.0, max_new_tokens=96, seed=seed)
        ours = await teacher.annotate(PICTURE, "vqa", "", decoding)
        theirs = await servicer.Annotate(
            teacher_pb2.AnnotateRequest(
                image=types_pb2.Image(data=DATA), task="vqa", decoding=decoding_to_proto(decoding)
            )
        )
        for field in ("text", "question", "answer", "rejection", "model_fingerprint"):
            assert getattr(ours, field) == getattr(theirs, field)
        assert ours.provenance.usage.completion_tokens == theirs.usage.completion_tokens
        rejections.add(ours.rejection)
    assert rejections == {"", "no_question"}
    reply = await teacher.answer(PICTURE, " what color is object 3? ", ANSWER_TEMPLATE, GREEDY)
    request = teacher_pb2.TeacherServiceAnswerRequest(
        image=types_pb2.Image(data=DATA), question="what color is object 3?"
    )
    assert reply.answer == (await servicer.Answer(request)).answer
    assert reply.version == served.fingerprint
    with pytest.raises(InvalidInput, match="empty"):
        await teacher.answer(PICTURE, " ", ANSWER_TEMPLATE, GREEDY)


async def test_a_student_is_the_version_of_the_store(tmp_path):
    async with (
        serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer,
        StudentClient(peer.address) as client,
    ):
        version = await client.version("v1")
        source = Loaded(
            str(tmp_path / "store" / "versions" / "v1"), FAKE, weights_sha256=version.weights_sha256
        )
        student = await source.student()
        for number in range(12):
            asked = (PICTURE, f"what color is object {number}?", ANSWER_TEMPLATE, GREEDY, "v1")
            assert await student.answer(*asked) == await client.answer(*asked)
    with pytest.raises(WrongState, match="other weights"):
        await replace(source, weights_sha256="0" * 64).student()


async def test_an_engine_that_dies_takes_its_actor_along(tmp_path):
    fake_checkpoint(tmp_path, deadly="poison")
    program = f"""
import asyncio
from tests.orchestrator.distributed.test_models import *
async def main():
    teacher = await Loaded({str(tmp_path)!r}, FAKE).teacher()
    reply = await teacher.answer(PICTURE, "what?", ANSWER_TEMPLATE, GREEDY)
    print(reply.answer != "", flush=True)
    await teacher.answer(PICTURE, "poison?", ANSWER_TEMPLATE, GREEDY)
    print("it lives")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output) == (1, b"True\n")


@pytest.mark.slow
async def test_a_teacher_has_the_image_settings_of_its_preset(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variables = {"MPA_TEACHER_PRESET": "qwen2vl-7b", "MPA_TEACHER_MODEL": str(ZOO / "teacher")}
    source = loaded("teacher", 0, variables)
    assert source.image_processor == PRESETS["qwen2vl-7b"].image_processor
    async with await source.teacher() as teacher:
        model = await teacher.model()
    assert PixelBudget.of(model.pixel_budget) == PixelBudget(1_003_520, 28)


@pytest.mark.parametrize(
    ("settings", "gpus", "devices"),
    [
        ({}, 0, 0.0),
        ({"ENGINE": "fake"}, 8, 0.0),
        ({"ENGINE": "vllm"}, 8, 0.9),
        ({"ENGINE": "vllm", "MEMORY_SHARE": "0.3"}, 1, 0.3),
        ({"ENGINE": "vllm", "TENSOR_PARALLEL": "2"}, 8, 2.0),
        ({"DEVICE": "cpu"}, 8, 0.0),
        ({"DEVICE": "cuda"}, 0, 0.9),
    ],
)
def test_the_gpus_that_an_actor_asks_for(settings, gpus, devices):
    variables = {f"MPA_TEACHER_{name}": value for name, value in settings.items()}
    found = loaded("teacher", gpus, variables)
    assert found.devices == devices
    assert os.path.isdir(found.model)  # noqa: PTH112 (the bundled one)


def test_a_model_of_a_provider_is_not_loaded():
    with pytest.raises(
        InvalidInput, match=r"start that teacher as a service, and give its --teacher HOST:PORT"
    ):
        loaded("teacher", 0, {"MPA_TEACHER_ENGINE": "openai"})
