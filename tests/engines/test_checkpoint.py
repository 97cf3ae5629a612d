import pytest

from services.core.errors import InvalidInput, NotFound
from services.engines import checkpoint
from services.engines.loading import load_model, require_installed
from services.engines.settings import EngineSettings


def test_refuses_pickles_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"pytorch_model\.bin.*safetensors"):
        checkpoint.check(tmp_path)


def test_refuses_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(InvalidInput, match=r"config\.json"):
        checkpoint.check(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "nowhere"])
def test_says_when_there_is_no_such_folder(name):
    with pytest.raises(NotFound, match="nowhere"):
        checkpoint.resolve(name)


def test_fingerprint_follows_weights_and_processor(tmp_path):
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    before = checkpoint.fingerprint(tmp_path), checkpoint.weights_sha256(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"max_pixels": 1}')
    assert checkpoint.fingerprint(tmp_path) != before[0]
    assert checkpoint.weights_sha256(tmp_path) == before[1]


async def test_unknown_engine_lists_the_known(tmp_path):
    (tmp_path / "fake.json").write_text("{}")
    with pytest.raises(InvalidInput, match="transformers, vllm, fake"):
        await load_model(tmp_path, EngineSettings(engine="onnx"))


def test_an_engine_that_is_not_installed_names_its_extra():
    require_installed("transformers")
    with pytest.raises(InvalidInput, match=r"\.\[warpdrive\]") as refused:
        require_installed("warpdrive")
    assert refused.value.reason == "ENGINE_NOT_INSTALLED"
