from services.engines.room import room_for
from services.engines.settings import EngineSettings
from services.engines.vllm_memory import GIB
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
