import asyncio
import shutil
from pathlib import Path

import pytest

from tests.orchestrator.run.runs import make
from tests.pictures import numbered_png


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pool = tmp_path_factory.mktemp("pool")
    for number in range(120):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    (pool / "broken.png").write_bytes(b"no image")
    folder = tmp_path_factory.mktemp("runs") / "a"
    asyncio.run(
        make(folder, pool, rejects=lambda sha256, seed: "no_question" if sha256[0] == "a" else "")
    )
    return folder


@pytest.fixture
def run(tmp_path, made):
    """A copy for one test, which may change it."""
    return Path(shutil.copytree(made, tmp_path / "runs" / "a"))
