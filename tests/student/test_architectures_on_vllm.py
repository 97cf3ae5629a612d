"""Every architecture of vLLM (0.32, its CPU build): swap in place, and roll back.

| architecture | vLLM's class | answers | swap in place |
| --- | --- | --- | --- |
| Qwen2-VL | Qwen2VLForConditionalGeneration | test_vllm.py | wrong (test_student_on_vllm.py) |
| Qwen2.5-VL | Qwen2_5_VLForConditionalGeneration | equal to transformers | right |
| Idefics3, SmolVLM | Idefics3ForConditionalGeneration | equal to transformers | right |
| LLaVA | LlavaForConditionalGeneration | equal to transformers | right |
| LLaVA-OneVision | LlavaOnevisionForConditionalGeneration | equal to transformers | right |
| TinyLLaVA, converted | LlavaForConditionalGeneration | equal to transformers | right |
| InternVL, InternVL2 converted | InternS1ForConditionalGeneration | equal to transformers | right |

InternVL2 with InternLM2 answers in test_internvl_on_vllm.py, and swaps as the others of its class.
"""

import pytest

from protos.mpa.v1 import versions_pb2
from tests.serving import serving_student
from tests.student.trained import (
    NAMES,
    answers_as,
    promote,
    reads_control_tokens_as_text,
    settings_of,
)

pytestmark = pytest.mark.slow
ELSEWHERE = ("qwen2_vl", "internvl2_internlm2")


@pytest.mark.parametrize(
    "trained", [name for name in NAMES if name not in ELSEWHERE], indirect=True
)
async def test_it_goes_live_in_place_on_vllm(trained, tmp_path):
    settings = settings_of(
        trained, tmp_path, ENGINE="vllm", MAX_MODEL_LEN=512, THREADS=1, SWAP="in_place"
    )
    async with serving_student(settings) as peer:
        await answers_as(peer, "v1", trained.base, agreement=0.9)
        await reads_control_tokens_as_text(peer, trained)
        engine = peer.student.versions.slot("v1").model
        await promote(peer, trained)
        await answers_as(peer, "v2", trained.output, agreement=0.9)
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
        await answers_as(peer, "v1", trained.base, agreement=0.9)
        assert peer.student.versions.slot("v1").model is engine, "no reload failed its canaries"
