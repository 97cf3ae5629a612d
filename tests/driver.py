"""A stand-in for the tool of NVIDIA's driver, for machines without a GPU."""

import os
from pathlib import Path

BANNER = "| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda} |"


def install_driver(
    monkeypatch, folder: Path, *gpus_gib, driver="580.65.06", cuda="13.0", name="NVIDIA RTX A6000"
):
    """Puts an `nvidia-smi` first in PATH. A GPU is (free, total) in GiB, or a total, all free.

    As the real one, it reports the GPUs that `--id` names (by number).
    """
    rows, listed = [], []
    for number, given in enumerate(gpus_gib):
        free, total = given if isinstance(given, tuple) else (given, given)
        row = f"{name}, {driver}, {int(free * 1024)}, {int(total * 1024)}"
        rows.append(f"case \",${{4:-{number}}},\" in *,{number},*) echo '{row}' ;; esac")
        listed.append(f"echo 'GPU {number}: {name} (UUID: GPU-{number})'")
    _write(
        folder,
        'case "$*" in *--query-gpu*)',
        *rows,
        ";; *--list-gpus*)",
        *listed,
        f";; *) echo '{BANNER.format(driver=driver, cuda=cuda)}' ;; esac",
    )
    _put_first(monkeypatch, folder)


def install_broken_driver(monkeypatch, folder: Path, message: str):
    """Puts an `nvidia-smi` first in PATH that fails with this message."""
    _write(folder, f"echo '{message}'", "exit 9")
    _put_first(monkeypatch, folder)


def _write(folder: Path, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tool = folder / "nvidia-smi"
    tool.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    tool.chmod(0o755)


def _put_first(monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
