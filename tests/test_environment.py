import pytest

from services.core.errors import InvalidInput
from services.environment import Environment
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings


def test_unset_and_empty_take_the_default():
    env = Environment("MPA_", {"MPA_A": "", "MPA_B": "7"})
    assert (env.integer("A", 3), env.integer("B", 3), env.integer("C", 3), env.path("A")) == (3, 7, 3, None)


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        (TeacherSettings, {"MPA_TEACHER_GRPC_PORT": "http"}),
        (StudentSettings, {"MPA_STUDENT_MAX_BATCH": "many"}),
        (StudentSettings, {"MPA_STUDENT_PRESET": "qwen9"}),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(settings, variables):
    (name, value), *_ = variables.items()
    with pytest.raises(InvalidInput, match=f"{name} is '{value}'"):
        settings.from_env(variables)
