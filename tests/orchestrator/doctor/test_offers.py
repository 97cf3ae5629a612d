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
    assert "MPA_TEACHER_TRUST_REMOTE_CODE=1" in found["internvl2-8b"].settings


def test_a_published_form_is_converted_before_it_is_trained():
    """Then no code of the checkpoint's own runs, and both engines load it."""
    found = by_preset([48])
    for name in ("internvl2-2b", "tinyllava-2b"):
        assert found[name].settings == (f"MPA_STUDENT_PRESET={name}", "MPA_STUDENT_ENGINE=vllm")
        assert found[name].is_converted
        assert found[name].training == "whole"
    assert not found["qwen2vl-2b"].is_converted
    assert not found["internvl2-8b"].is_converted
    assert by_preset([])["tinyllava-2b"].settings[1] == "MPA_STUDENT_ENGINE=transformers"


def test_a_student_that_no_gpu_trains_alone_is_divided_among_several():
    assert by_preset([80, 80])["internvl2-4b"].training == "whole"
    assert by_preset([48])["internvl2-4b"].training == "LoRA"
    divided = by_preset([48, 48, 48])["internvl2-4b"]
    assert divided.training == "whole on 2 GPUs"
    assert divided.settings[-2:] == (
        "MPA_STUDENT_TRAINING_PROCESSES=2",
        "MPA_STUDENT_TRAINING_SHARDED=1",
    )


def test_a_student_that_no_gpu_trains_is_offloaded_if_the_machine_has_the_memory():
    found = by_preset([80], machine_gib=128)["qwen3vl-4b"]
    assert found.training == "whole"
    found = by_preset([48], machine_gib=128)["qwen3vl-4b"]
    assert found.training == "whole by offload"
    assert found.settings[-1] == "MPA_STUDENT_TRAINING_OFFLOAD=1"
    assert by_preset([48], machine_gib=64)["qwen3vl-4b"].training == "LoRA"
    assert by_preset([48, 48], machine_gib=128)["qwen3vl-4b"].training == "whole on 2 GPUs"


def test_two_small_gpus_share_a_teacher():
    assert not by_preset([16])["qwen2vl-7b"].fits
    assert "MPA_TEACHER_TENSOR_PARALLEL=2" in by_preset([16, 16])["qwen2vl-7b"].settings


def test_a_small_gpu_trains_adapters():
    assert by_preset([24], machine_gib=32)["qwen2vl-2b"].training == "LoRA"


def test_without_a_gpu_the_bundled_pair_fits_and_a_large_teacher_does_not():
    found = by_preset([], machine_gib=24)
    assert found["bundled"].settings == (
        "MPA_STUDENT_PRESET=bundled",
        "MPA_STUDENT_ENGINE=transformers",
    )
    assert not found["qwen2vl-7b"].fits


def test_every_preset_that_runs_here_is_offered():
    assert by_preset([80]).keys() == {
        preset.name for preset in PRESETS.values() if preset.serving_bytes
    }
