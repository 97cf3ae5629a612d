"""The event loop reads no weights, and each version's weights are read once for all its swaps."""

import threading
from pathlib import Path

import pytest

from services.core.contract import Contract
from services.engines.settings import EngineSettings
from services.student.loader import StoredVersions
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from services.student.store import VersionStore
from services.student.versions import Versions
from tests.serving import fake_checkpoint

MIB = 2**20
WEIGHTS = 64 * MIB


def _weighty(folder, skill):
    fake_checkpoint(folder, skill=skill)
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(WEIGHTS)
    return folder


def _read(of):
    """Bytes that a thread, or "self" for this process, has read so far."""
    return int(Path(f"/proc/{of}/io").read_text().split()[1])


@pytest.mark.parametrize("way", [SwapWay.TWO_SLOTS, SwapWay.IN_PLACE])
async def test_no_swap_reads_weights_on_the_loop_or_twice(tmp_path, way):
    store = VersionStore(tmp_path / "store")
    for number in range(2):
        store.add(_weighty(tmp_path / f"{number}", 0.5 + number / 10), Origin(), Contract())
    store.point(Pointers(live="v1"))
    loader = StoredVersions(store, EngineSettings(engine="fake"))
    versions = Versions(store, loader, max_loaded=2, way=way)
    loop = f"self/task/{threading.get_native_id()}"
    on_loop, at_all = _read(loop), _read("self")
    await versions.start()
    await versions.promote("v2")
    await versions.rollback()
    await versions.promote("v2")
    assert versions.pointers.live == "v2"
    assert _read(loop) - on_loop < MIB
    assert _read("self") - at_all < 2.5 * WEIGHTS, "each version's weights are read at most once"
    await versions.close()
    store.close()
