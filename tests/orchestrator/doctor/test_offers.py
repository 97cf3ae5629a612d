from services.core.memory import GIB
from services.core.presets import PRESETS
from services.orchestrator.doctor.offers import offers


def by_preset(gpus_gib, machine_gib=64):
    found = offers([int(gib * GIB) for gib in gpus_gib], machine_gib * GIB)
    return {offer.preset: offer for offer in found}


def test_the_papers_machine_serves_its_models():
    found = by_preset([48, 48, 48])
    assert found["qwen2vl-7b"].settings == (
        "MPA_TEACHER_PRESET=qwen2vl-7b",
        "MPA_TEACHER_ENGINE=vllm",
    )
    assert found["qwen2vl-2b"].training == "whole"
    assert "MPA_STUDENT_TRUST_REMOTE_CODE=1" in found["internvl2-2b"].settings


def test_two_small_gpus_share_a_teacher():
    assert not by_preset([16])["qwen2vl-7b"].fits
    assert "MPA_TEACHER_TENSOR_PARALLEL=2" in by_preset([16, 16])["qwen2vl-7b"].settings


def test_a_small_gpu_trains_adapters():
    assert by_preset([24])["qwen2vl-2b"].training == "LoRA"


def test_without_a_gpu_the_bundled_pair_fits_and_a_large_teacher_does_not():
    found = by_preset([], machine_gib=24)
    assert found["bundled"].settings == (
        "MPA_STUDENT_PRESET=bundled",
        "MPA_STUDENT_ENGINE=transformers",
    )
    assert not found["qwen2vl-7b"].fits


def test_every_preset_that_an_engine_loads_is_offered():
    assert by_preset([80]).keys() == {
        preset.name for preset in PRESETS.values() if preset.engines and preset.serving_bytes
    }
