from services.engines import weights
from services.engines.settings import EngineSettings
from services.engines.vllm_memory import GIB, kv_cache_bytes, memory_bytes
from tests.engines.checkpoints import save_weights


def test_a_gpu_gives_its_share_or_weights_and_cache(tmp_path):
    folder = save_weights(tmp_path, 1000)
    assert memory_bytes(folder, EngineSettings(memory_share=0.4), 100 * GIB) == 40 * GIB
    fixed = EngineSettings(kv_cache_gib=3)
    need = weights.memory_bytes(folder, fixed, 100 * GIB)
    assert memory_bytes(folder, fixed, 100 * GIB) == need + 3 * GIB


def test_on_a_cpu_the_cache_has_a_fixed_size(tmp_path):
    folder = save_weights(tmp_path, 1000)
    assert kv_cache_bytes(EngineSettings(), on_cpu=False) == 0
    assert kv_cache_bytes(EngineSettings(), on_cpu=True) == GIB
    small, large = (
        memory_bytes(folder, EngineSettings(kv_cache_gib=size), None) for size in (1, 3)
    )
    assert large == small + 2 * GIB
