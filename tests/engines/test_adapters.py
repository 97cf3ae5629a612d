import json

import pytest

from services.core.errors import InvalidInput
from services.engines import adapters, checkpoint
from tests.serving import fake_checkpoint


@pytest.fixture
def base(tmp_path):
    return fake_checkpoint(tmp_path / "base")


def _adapter(folder, base_sha256, rank=8):
    folder.mkdir()
    (folder / adapters.CONFIG).write_text(
        json.dumps({"r": rank, "base_model_name_or_path": base_sha256})
    )
    (folder / adapters.WEIGHTS).write_bytes(b"weights")
    return folder


def test_an_adapter_fits_its_own_base_only(base, tmp_path):
    adapters.require_fits(_adapter(tmp_path / "own", checkpoint.weights_sha256(base)), base, 8)
    with pytest.raises(InvalidInput, match="was trained on a base of sha256 beef") as refused:
        adapters.require_fits(_adapter(tmp_path / "other", "beef" * 16), base, 8)
    assert refused.value.reason == "ADAPTER_OF_ANOTHER_BASE"


def test_an_adapter_of_too_high_a_rank_is_refused(base, tmp_path):
    adapter = _adapter(tmp_path / "high", checkpoint.weights_sha256(base), rank=64)
    with pytest.raises(InvalidInput, match="rank 64, this engine takes up to 16"):
        adapters.require_fits(adapter, base, 16)


def test_a_folder_without_weights_is_no_adapter(base, tmp_path):
    with pytest.raises(InvalidInput, match="not an adapter"):
        adapters.require_fits(tmp_path, base, 8)


def test_its_fingerprint_is_of_base_and_adapter(base, tmp_path):
    adapter = _adapter(tmp_path / "own", checkpoint.weights_sha256(base))
    one = adapters.fingerprint("base", adapter)
    (adapter / adapters.WEIGHTS).write_bytes(b"other weights")
    assert (
        len({one, adapters.fingerprint("base", adapter), adapters.fingerprint("another", adapter)})
        == 3
    )
