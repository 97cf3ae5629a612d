"""Folders of the benchmarks: the repository, and what they build in it."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"


def work_folder(name: str) -> Path:
    """An empty folder below build/bench."""
    folder = BUILD / "work" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
