import pytest

from services.core.errors import InvalidInput, WrongState
from services.core.memory import NO_ROOM
from services.core.presets import PRESETS
from services.engines.gpus import require_named
from services.engines.room import require_room, room_for
from services.engines.settings import STUDENTS_SHARE, EngineSettings
from services.engines.vllm_memory import GIB
from services.engines.weights import MARGIN
from tests.driver import install_driver
from tests.engines.checkpoints import save_weights
from tests.serving import fake_checkpoint


def test_on_a_cpu_a_model_takes_float32_weights_and_vllm_its_cache(tmp_path):
    save_weights(tmp_path, 2**20)
    plain = room_for(tmp_path, EngineSettings(device="cpu"))
    assert plain.device == "CPU"
    assert 2**22 < plain.needed < 2**23
    cached = room_for(tmp_path, EngineSettings(engine="vllm", device="cpu", kv_cache_gib=3))
    assert cached.needed > plain.needed + 3 * GIB


def test_more_than_there_is_does_not_fit_and_says_so(tmp_path):
    room = room_for(fake_checkpoint(tmp_path, memory_gib=1e6), EngineSettings(engine="fake"))
    assert not room.fits
    assert "does not fit: it takes 1000000.0 GiB" in str(room)
    assert room_for(fake_checkpoint(tmp_path, memory_gib=0.01), EngineSettings(engine="fake")).fits


async def test_two_models_that_share_a_gpu_with_room_for_one(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    save_weights(tmp_path, 2**20)
    settings = EngineSettings(engine="vllm", memory_share=0.4)
    install_driver(monkeypatch, tmp_path / "free", (47, 48))
    await require_room(tmp_path, settings)
    install_driver(monkeypatch, tmp_path / "full", (10, 48))
    with pytest.raises(WrongState) as refused:
        await require_room(tmp_path, settings)
    assert refused.value.reason == NO_ROOM
    assert "takes 19.2 GiB of the GPU, but only 10.0 GiB are free" in str(refused.value)
    assert "choose another GPU by DEVICES" in str(refused.value)


async def test_a_gpu_that_is_not_there_is_refused_before_a_cpu_computes(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    save_weights(tmp_path, 2**20)
    install_driver(monkeypatch, tmp_path / "bin", 48)
    for engine in ("transformers", "vllm"):
        with pytest.raises(InvalidInput, match=r"DEVICES is 7, but .* it finds GPU 0"):
            await require_room(tmp_path, EngineSettings(engine=engine))
    await require_room(tmp_path, EngineSettings(device="cpu"))
    for hidden in ("-1", "MIG-7"):  # the tool doesn't list a part of a GPU
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        require_named("DEVICES")


async def test_memory_that_is_given_back_late_is_waited_for(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    save_weights(tmp_path, 2**20)
    driver = tmp_path / "driver"
    install_driver(monkeypatch, driver, (10, 48))
    tool = (driver / "nvidia-smi").read_text()
    once = f"if test -e {tmp_path}/asked; then echo 'A6000, 1, 48000, 49152'; exit; fi"
    (driver / "nvidia-smi").write_text(
        tool.replace("#!/bin/sh\n", f"#!/bin/sh\n{once}\ntouch {tmp_path}/asked\n")
    )
    await require_room(tmp_path, EngineSettings(engine="vllm", memory_share=0.4), patience_s=60)


async def test_a_share_below_the_weights_names_one_that_holds_them(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_driver(monkeypatch, tmp_path / "bin", 24)
    save_weights(tmp_path, 2**20)
    with pytest.raises(WrongState, match=r"MEMORY_SHARE is 1e-05, .* set it to 0.1; above 0.45"):
        await require_room(tmp_path, EngineSettings(engine="vllm", memory_share=0.00001))


async def test_a_cpu_is_not_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    await require_room(save_weights(tmp_path, 2**20), EngineSettings())


@pytest.mark.parametrize("name", ["smolvlm-500m", "tinyllava-2b", "internvl2-2b", "qwen2vl-2b"])
@pytest.mark.parametrize("gpu_gib", [24, 48])
def test_the_default_share_of_a_student_holds_its_weights(name, gpu_gib):
    assert PRESETS[name].parameters * 2 * MARGIN < STUDENTS_SHARE * gpu_gib * GIB
