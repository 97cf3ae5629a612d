"""Arguments of vLLM: as its own server has them, and one compilation for all versions."""

import shutil

import pytest

from services.engines.choice import ZOO
from services.engines.settings import EngineSettings

pytestmark = pytest.mark.slow
STUDENT = ZOO / "student"


def _on_gpu(**settings):
    from services.engines.vllm_arguments import engine_arguments

    return engine_arguments(STUDENT, EngineSettings(engine="vllm", **settings), on_cpu=False)


def test_on_a_gpu_vllm_chooses_its_steps_unless_they_are_set():
    assert _on_gpu()["max_num_seqs"] == 256
    assert "max_num_batched_tokens" not in _on_gpu()
    assert "enable_chunked_prefill" not in _on_gpu()
    given = _on_gpu(batch_tokens=8192, max_batch=32)
    assert (given["max_num_batched_tokens"], given["max_num_seqs"]) == (8192, 32)


def test_half_of_the_cores_process_images_unless_a_number_is_set():
    from services.engines.vllm_arguments import processing_threads

    assert 1 <= processing_threads(EngineSettings()) <= 8
    assert processing_threads(EngineSettings(threads=3)) == 3


def test_versions_of_one_configuration_are_compiled_once(tmp_path):
    from services.engines.vllm_arguments import VersionArguments, engine_arguments

    def key(name, change=None):
        folder = shutil.copytree(STUDENT, tmp_path / name)
        if change:
            config = folder / "config.json"
            config.write_text(config.read_text().replace(*change))
        settings = EngineSettings(engine="vllm")
        arguments = VersionArguments(**engine_arguments(folder, settings, on_cpu=True))
        return arguments.create_engine_config().compute_hash()

    assert key("v1") == key("v2")
    assert key("another", ('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05')) != key("v3")
