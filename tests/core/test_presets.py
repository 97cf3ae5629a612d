"""The table of models against the paper, the installed libraries and the memory estimates."""

import re
from dataclasses import asdict

import pytest

from services.core.errors import InvalidInput
from services.core.presets import CONVERTED, PRESETS, TABLE_11, find_preset

PAPER = {
    "smolvlm-500m": (16, 1e-4),
    "tinyllava-2b": (16, 1e-4),
    "internvl2-2b": (16, 4e-5),
    "internvl2-4b": (6, 4e-5),
    "qwen2vl-2b": (16, 1e-5),
}
SUCCESSORS = [
    "qwen2.5vl-3b",
    "qwen2.5vl-7b",
    "qwen3vl-2b",
    "qwen3vl-4b",
    "qwen3vl-8b",
    "internvl3-1b",
    "internvl3-2b",
]
SUCCESSORS += [
    "internvl3-8b",
    "smolvlm2-500m",
    "smolvlm2-2.2b",
    "llava-onevision-0.5b",
    "llava-onevision-7b",
]


def test_every_model_of_the_paper_and_its_successors_are_there():
    ours = {"bundled", "bundled-teacher", "minivqa", "minivqa-idefics3", "minivqa-teacher"}
    assert {
        *PAPER,
        "internvl2-1b",
        "qwen2vl-7b",
        "internvl2-8b",
        "gpt-4o",
        *ours,
        *SUCCESSORS,
    } == set(PRESETS)


def test_the_papers_students_train_by_table_11():
    of_the_paper = {
        name: preset.hyperparameters
        for name, preset in PRESETS.items()
        if preset.hyperparameters_source == TABLE_11
    }
    assert {
        name: (found.batch_size, found.learning_rate) for name, found in of_the_paper.items()
    } == PAPER
    assert all(found.epochs == 1 and found.lora_rank == 0 for found in of_the_paper.values())


def test_a_successor_trains_as_the_model_that_its_source_names():
    for name in SUCCESSORS:
        preset = PRESETS[name]
        if "student" in preset.roles:
            named = preset.hyperparameters_source.partition(" ")[0]
            assert preset.hyperparameters == PRESETS[named].hyperparameters, name


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_a_preset_is_whole(preset):
    assert preset.licence
    assert set(preset.roles) <= {"student", "teacher"}
    assert set(preset.engines) <= {"transformers", "vllm", "openai"}
    assert re.fullmatch(r"[0-9a-f]{40}|main|", preset.revision)
    assert preset.engines or preset.note, "where no engine loads it, it says what to do"
    if preset.shape:
        assert (
            preset.roles == (("student",) if preset.parameters <= 5_000_000_000 else ("teacher",))
            or not preset.hub_id
        )
        assert preset.visual_tokens
        assert preset.serving_bytes > 2 * preset.parameters


def test_the_papers_setting_fits_the_papers_machine():
    """Three A6000 with 48 GB: one serves the teacher, one a 2B student, one trains it whole."""
    a6000 = 48e9
    assert PRESETS["qwen2vl-7b"].serving_bytes < a6000
    assert PRESETS["qwen2vl-2b"].serving_bytes < a6000
    assert PRESETS["qwen2vl-2b"].training_bytes() < a6000
    assert (
        PRESETS["qwen2vl-2b"].training_bytes(lora_rank=16)
        < PRESETS["qwen2vl-2b"].training_bytes() / 3
    )
    assert PRESETS["qwen2vl-7b"].training_bytes() == 0


def test_the_first_example_fits_two_gpus_of_24_gb():
    """The README's: live version, candidate and training share the student's."""
    student = PRESETS["smolvlm-500m"]
    assert PRESETS["qwen2vl-7b"].serving_bytes < 24e9
    assert 2 * student.serving_bytes + student.training_bytes() < 24e9


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [
        (
            "qwen2vl2b",
            "student",
            r"'qwen2vl2b' \(did you mean qwen2vl-2b\?\): use one of smolvlm-500m, tinyllava-2b, ",
        ),
        ("QWEN2VL-7B", "teacher", "did you mean qwen2vl-7b"),
        ("qwen2vl-7b", "student", "'qwen2vl-7b', which is no student: use one of smolvlm-500m"),
        ("nothing like it", "", "'nothing like it': use one of"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest_and_a_list(name, role, said):
    with pytest.raises(InvalidInput, match=said):
        find_preset(name, role)
    assert (
        find_preset("qwen2vl-7b", "teacher") is find_preset("qwen2vl-7b") is PRESETS["qwen2vl-7b"]
    )


@pytest.mark.parametrize(
    ("name", "engine", "trusted", "said"),
    [
        ("internvl2-2b", "vllm", False, "MPA_STUDENT_TRUST_REMOTE_CODE=1"),
        (
            "internvl2-2b",
            "transformers",
            True,
            "runs on vllm, not on transformers: set MPA_STUDENT_ENGINE=vllm, or run "
            "`mpa-orch models convert internvl2-2b FOLDER`",
        ),
        (
            "tinyllava-2b",
            "vllm",
            True,
            "no engine loads .* as published: run `mpa-orch models convert tinyllava-2b FOLDER`, "
            "then set MPA_STUDENT_MODEL=FOLDER",
        ),
        ("gpt-4o", "vllm", False, "runs on openai"),
    ],
)
def test_an_unloadable_model_is_refused_with_the_way_out(name, engine, trusted, said):
    with pytest.raises(InvalidInput, match=said):
        PRESETS[name].require_loadable(engine, trust_remote_code=trusted, prefix="MPA_STUDENT_")


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("internvl2-2b", "vllm"),
        ("qwen2vl-2b", "transformers"),
        ("gpt-4o", "openai"),
        ("bundled", "fake"),
    ],
)
def test_a_loadable_model_passes(name, engine):
    PRESETS[name].require_loadable(engine, trust_remote_code=True, prefix="MPA_STUDENT_")


def test_a_model_is_named_with_its_commit():
    assert (
        PRESETS["qwen2vl-2b"].model
        == "Qwen/Qwen2-VL-2B-Instruct@895c3a49bc3fa70a340399125c650a463535e71c"
    )
    assert PRESETS["gpt-4o"].model == "gpt-4o-2024-11-20"
    assert PRESETS["bundled"].model == ""


def test_a_preset_can_be_written_as_json():
    assert asdict(PRESETS["qwen2vl-2b"])["image_processor"] == {
        "min_pixels": 200_704,
        "max_pixels": 1_003_520,
    }


def test_a_published_form_that_no_training_reads_has_a_conversion():
    for preset in PRESETS.values():
        is_trainable = "transformers" in preset.engines or preset.engines == ("openai",)
        assert bool(preset.conversion) != is_trainable, preset.name
    assert CONVERTED == {
        "InternVLChatModel": "InternVLForConditionalGeneration",
        "TinyLlavaStablelmForCausalLM": "LlavaForConditionalGeneration",
    }
