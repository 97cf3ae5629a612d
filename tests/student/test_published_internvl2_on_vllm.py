"""InternVL2 as published, which transformers can't build, as student and as teacher on vLLM."""

import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.core.annotation import Annotation
from services.core.decoding import Decoding
from services.core.tasks import TASKS
from services.engines.loading import load_model
from services.engines.serving import of_checkpoint
from services.engines.teacher import HostedTeacher
from services.student import canaries
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings
from tests.internvl2 import save_internvl2
from tests.serving import serving_student

pytestmark = pytest.mark.slow
SETTINGS = {"ENGINE": "vllm", "TRUST_REMOTE_CODE": 1, "MAX_MODEL_LEN": 1024, "THREADS": 1}


def environment(role, preset, folder, **further):
    settings = {"MODEL": folder, "PRESET": preset, **SETTINGS, **further}
    return {f"MPA_{role}_{name}": str(value) for name, value in settings.items()}


async def test_a_student_gets_its_canaries_from_the_engine_that_serves_it(tmp_path):
    folder = save_internvl2(tmp_path / "published", "phi3")
    store = tmp_path / "store"
    settings = StudentSettings.from_env(environment("STUDENT", "internvl2-4b", folder, STORE=store))
    async with serving_student(settings) as peer:
        listed = await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v1"))
        assert listed.version.canaries == listed.version.canaries_passed == canaries.COUNT
        first, *_ = known = canaries.read(peer.student.store.path("v1"))
        data = (store / "versions/v1/canaries" / first.image_sha256).read_bytes()
        answered = await peer.answers.Answer(
            student_pb2.AnswerRequest(image=types_pb2.Image(data=data), question=first.question)
        )
        origin = peer.student.store.manifest("v1").origin
    assert origin.canaries_by == "vllm"
    assert all(canary.logprob == pytest.approx(sum(canary.logprobs), abs=1e-3) for canary in known)
    assert (answered.version, answered.answer) == ("v1", first.answer)
    assert answered.usage.prompt_tokens == first.prompt_tokens > first.rendering.tokens


async def test_a_teacher_annotates_and_answers(tmp_path):
    folder = save_internvl2(tmp_path / "published", "internlm2")
    settings = TeacherSettings.from_env(environment("TEACHER", "internvl2-8b", folder))
    serving = of_checkpoint(folder, settings.engine, settings.preset.name, settings.model)
    teacher = HostedTeacher(await load_model(folder, settings.engine), serving)
    image = canaries.synthetic_questions()[0].image
    sampled = Decoding(max_new_tokens=512, temperature=0.7, seed=3)
    try:
        annotated = await teacher.annotate(image, TASKS["vqa"], "", sampled, guided=True)
        assert isinstance(annotated.outcome, Annotation)
        reply = await teacher.answer(image, annotated.outcome.question, "", Decoding())
    finally:
        await teacher.close()
    assert reply.text
