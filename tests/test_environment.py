from pathlib import Path

import pytest

from services.core.errors import InvalidInput
from services.environment import Environment, pin_devices
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings


def test_unset_and_empty_take_the_default():
    env = Environment("MPA_", {"MPA_A": "", "MPA_B": "7"})
    assert [env.integer(name, 3) for name in "ABC"] == [3, 7, 3]
    assert env.path("A") is None


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        (TeacherSettings, {"MPA_TEACHER_GRPC_PORT": "http"}),
        (StudentSettings, {"MPA_STUDENT_MAX_BATCH": "many"}),
        (StudentSettings, {"MPA_STUDENT_PRESET": "qwen9"}),
        (TeacherSettings, {"MPA_TEACHER_PRESET": "qwen2vl-2b"}),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(settings, variables):
    (name, value), *_ = variables.items()
    with pytest.raises(InvalidInput, match=f"{name} is '{value}'"):
        settings.from_env(variables)


def test_a_preset_names_the_model_unless_it_is_named():
    teacher = TeacherSettings.from_env({"MPA_TEACHER_PRESET": "qwen2vl-7b"})
    student = StudentSettings.from_env({})
    assert teacher.model.startswith("Qwen/Qwen2-VL-7B-Instruct@")
    assert (Path(student.model).name, student.preset.name) == ("student", "bundled")
    named = {"MPA_STUDENT_PRESET": "tinyllava-2b", "MPA_STUDENT_MODEL": "/models/converted"}
    assert StudentSettings.from_env(named).model == "/models/converted"


def test_remote_code_runs_only_where_it_is_allowed():
    wanted = {"MPA_TEACHER_PRESET": "internvl2-8b", "MPA_TEACHER_ENGINE": "vllm"}
    with pytest.raises(InvalidInput, match="MPA_TEACHER_TRUST_REMOTE_CODE=1"):
        TeacherSettings.from_env(wanted)
    allowed = TeacherSettings.from_env({**wanted, "MPA_TEACHER_TRUST_REMOTE_CODE": "1"})
    assert allowed.model.startswith("OpenGVLab/InternVL2-8B@")


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("0,1", "0,1"),
        (" 1 , 0", "1,0"),
        ("GPU-5e7b1a3c-0d2f,MIG-11aa", "GPU-5e7b1a3c-0d2f,MIG-11aa"),
        ("", "7"),
    ],
)
def test_a_service_sees_its_own_devices(given, seen):
    variables = {"MPA_TEACHER_DEVICES": given, "CUDA_VISIBLE_DEVICES": "7"}
    pin_devices("MPA_TEACHER_", variables)
    assert variables["CUDA_VISIBLE_DEVICES"] == seen


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0,0", "device 0 is named twice"),
        ("0,", "'' is not a device"),
        ("cuda:1", "'cuda:1' is not a device"),
        ("-1", "not a device"),
    ],
)
def test_what_names_no_devices_is_refused(given, said):
    for variable, refuse in (
        ("MPA_STUDENT_DEVICES", lambda variables: pin_devices("MPA_STUDENT_", variables)),
        ("MPA_STUDENT_TRAINING_DEVICES", StudentSettings.from_env),
    ):
        with pytest.raises(InvalidInput, match=f"{variable} is '{given}': .*{said}"):
            refuse({variable: given})
