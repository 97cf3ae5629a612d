"""InternVL2 as published, which transformers can't build, as student on vLLM.

As teacher: tests/engines/conversion/test_internvl_on_vllm.py.
"""

import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.student import canaries
from services.student.settings import StudentSettings
from tests.internvl2 import save_internvl2
from tests.serving import serving_student

pytestmark = pytest.mark.slow
SETTINGS = {
    "ENGINE": "vllm",
    "PRESET": "internvl2-4b",
    "TRUST_REMOTE_CODE": 1,
    "MAX_MODEL_LEN": 1024,
    "THREADS": 1,
}


async def test_a_student_gets_its_canaries_from_the_engine_that_serves_it(tmp_path):
    folder = save_internvl2(tmp_path / "published", "phi3")
    store = tmp_path / "store"
    given = {**SETTINGS, "MODEL": folder, "STORE": store}
    settings = StudentSettings.from_env(
        {f"MPA_STUDENT_{name}": str(value) for name, value in given.items()}
    )
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
