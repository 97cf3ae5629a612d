"""A preset that must be converted is converted once, when its service is asked to."""

from dataclasses import replace

import pytest

from services.core.errors import InvalidInput
from services.core.presets import PRESETS
from services.orchestrator.endpoints.converted import converted, unconverted


def test_a_preset_in_its_published_form_is_to_be_converted():
    tiny = {"MPA_STUDENT_PRESET": "tinyllava-2b"}
    assert unconverted("student", tiny) is PRESETS["tinyllava-2b"]
    assert unconverted("student", {**tiny, "MPA_STUDENT_MODEL": "folder"}) is None
    assert unconverted("student", {"MPA_STUDENT_PRESET": "qwen2vl-2b"}) is None
    assert unconverted("student", {}) is None
    assert unconverted("teacher", {"MPA_TEACHER_PRESET": "internvl2-8b"}).name == "internvl2-8b"
    with pytest.raises(InvalidInput, match="MPA_STUDENT_PRESET is 'tinylava-2b'"):
        unconverted("student", {"MPA_STUDENT_PRESET": "tinylava-2b"})


@pytest.mark.slow
def test_it_is_converted_once_into_the_users_cache(tmp_path, monkeypatch):
    from tests.tinyllava import publish

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    published = publish(tmp_path / "published")
    preset = replace(PRESETS["tinyllava-2b"], hub_id=str(published), revision="")
    folder = converted(preset)
    assert (tmp_path / "cache") in folder.parents
    made = (folder / "config.json").stat().st_mtime_ns
    assert converted(preset) == folder
    assert (folder / "config.json").stat().st_mtime_ns == made
