"""A preset's image processor reaches a checkpoint's engines, and never its folder."""

import json
import random

import pytest

from services.core.errors import InvalidInput, MpaError
from services.core.pixels import PixelBudget
from services.core.presets import PRESETS
from services.engines import checkpoint
from services.engines.choice import ZOO
from services.engines.linked import with_image_processor

PIXELS = {"min_pixels": 28**2 * 4, "max_pixels": 28**2 * 100}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_folder_stays_as_it_is_and_a_folder_of_links_has_the_pixels():
    before = content(ZOO / "student")
    linked = with_image_processor(ZOO / "student", PIXELS)
    assert content(ZOO / "student") == before
    assert {name for name, data in content(linked).items() if data != before[name]} == {
        "processor_config.json"
    }
    assert (linked / "model.safetensors").is_symlink()
    assert PixelBudget.of(checkpoint.pixel_budget(linked)) == PixelBudget(28**2 * 100, 28)
    assert checkpoint.fingerprint(linked) != checkpoint.fingerprint(ZOO / "student")
    assert checkpoint.weights_sha256(linked) == checkpoint.weights_sha256(ZOO / "student")


def test_equal_settings_have_one_folder_and_others_another():
    linked = with_image_processor(ZOO / "student", PIXELS)
    assert with_image_processor(ZOO / "student", dict(PIXELS)) == linked
    assert with_image_processor(ZOO / "student", {**PIXELS, "max_pixels": 28**2 * 99}) != linked
    assert with_image_processor(ZOO / "teacher", PIXELS) != linked


def test_a_changed_processor_has_a_new_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text('{"max_pixels": 1}')
    first = with_image_processor(folder, PIXELS)
    (folder / "preprocessor_config.json").write_text('{"max_pixels": 1, "image_mean": 0}')
    assert json.loads((first / "preprocessor_config.json").read_text()) == PIXELS
    second = with_image_processor(folder, PIXELS)
    assert json.loads((second / "preprocessor_config.json").read_text())["image_mean"] == 0


def test_a_folder_that_has_the_settings_is_used_itself(tmp_path):
    assert with_image_processor(ZOO / "student", {}) == ZOO / "student"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PIXELS, "merge_size": 2}))
    assert with_image_processor(tmp_path, PIXELS) == tmp_path
    (tmp_path / "fake.json").write_text("{}")
    assert with_image_processor(tmp_path, {"max_pixels": 1}) == tmp_path


def test_a_checkpoint_without_an_image_processor_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(InvalidInput, match="no configuration of an image processor"):
        with_image_processor(folder, PIXELS)
    assert list((tmp_path / "cache/mpa/checkpoints").iterdir()) == []


def test_a_cache_folder_that_can_t_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(MpaError, match=r"cache.* can't be written .* XDG_CACHE_HOME"):
        with_image_processor(ZOO / "student", PIXELS)


@pytest.mark.parametrize("name", ["qwen2vl-2b", "qwen3vl-2b"])
def test_the_student_s_processor_leaves_a_shrunk_image_at_the_size_of_the_original(name):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    sizes = PRESETS[name].image_processor
    budget = PixelBudget.of_processor(sizes)
    pixels = {key: sizes[key] for key in ("min_pixels", "max_pixels")}
    rng = random.Random(0)
    for _ in range(20_000):
        shorter = rng.randint(1, 3_000)
        width, height = round(shorter * rng.uniform(1, min(199, 9_000 / shorter))), shorter
        wanted = smart_resize(height, width, budget.side_multiple, **pixels)
        fitted = budget.fit(width, height)
        assert smart_resize(fitted[1], fitted[0], budget.side_multiple, **pixels) == wanted
        if fitted != (width, height):
            assert (fitted[1], fitted[0]) == wanted
