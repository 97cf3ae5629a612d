import pytest

from services.core.errors import InvalidInput
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings


def test_a_teacher_at_a_provider_is_named_by_model_or_preset_and_its_key_is_not_shown():
    for named in ({"MPA_TEACHER_MODEL": "gpt-4o-2024-11-20"}, {"MPA_TEACHER_PRESET": "gpt-4o"}):
        settings = TeacherSettings.from_env(
            {**named, "MPA_TEACHER_ENGINE": "openai", "OPENAI_API_KEY": "secret-key"}
        )
        assert settings.model == "gpt-4o-2024-11-20"
        assert settings.openai.api_key == "secret-key"
        assert "secret-key" not in repr(settings)


def test_other_engines_want_nothing_of_a_provider():
    assert TeacherSettings.from_env({"OPENAI_API_KEY": "secret-key"}).openai is None


def test_a_student_cannot_be_at_a_provider():
    with pytest.raises(InvalidInput, match="a student is trained"):
        StudentSettings.from_env({"MPA_STUDENT_ENGINE": "openai", "OPENAI_API_KEY": "secret-key"})
