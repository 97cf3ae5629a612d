import pytest

from services.core.errors import InvalidInput
from services.engines.settings import EngineSettings
from services.engines.weights import MARGIN, memory_bytes, weight_bytes
from tests.engines.checkpoints import save_weights


def test_weights_are_counted_without_being_read(tmp_path):
    assert weight_bytes(save_weights(tmp_path, 1000), bytes_per_parameter=2) == 2000


def test_the_precision_and_the_device_decide_how_much_they_take(tmp_path):
    folder = save_weights(tmp_path, 1000)
    assert memory_bytes(folder, EngineSettings(), None) == 4000 * MARGIN
    assert memory_bytes(folder, EngineSettings(dtype="bfloat16"), None) == 2000 * MARGIN
    assert memory_bytes(folder, EngineSettings(), 2**30) == 2000 * MARGIN
    assert memory_bytes(folder, EngineSettings(tensor_parallel=2), 2**30) == 1000 * MARGIN


def test_a_damaged_header_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(InvalidInput, match="header can't be read") as refused:
        weight_bytes(tmp_path, bytes_per_parameter=2)
    assert refused.value.reason == "VERSION_CORRUPT"
