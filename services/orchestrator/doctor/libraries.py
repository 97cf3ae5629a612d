"""Installed libraries against the tested ones, and torch's own view of the GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from services.core import extras
from services.orchestrator.doctor.finding import Finding, Verdict

CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"
_PROBE = """
import json, torch
report = {"version": torch.__version__, "cuda": torch.version.cuda or ""}
try:
    torch.cuda.init()
    report |= {"gpus": torch.cuda.device_count(), "error": ""}
except Exception as error:
    report |= {"gpus": 0, "error": str(error).strip()}
print(json.dumps(report))
"""
_PROBE_S = 180.0


@dataclass(frozen=True, slots=True)
class Torch:
    """torch as a fresh process finds it."""

    version: str
    cuda: str
    """Version of CUDA that it is built for; "" is a build for CPUs."""
    gpus: int
    error: str
    """Reason why it can't use a GPU."""


def probe_torch() -> Torch | None:
    """Asks torch in a process of its own; None if it is not installed."""
    if not extras.is_installed("torch"):
        return None
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PROBE_S
        )
    except subprocess.TimeoutExpired:
        return Torch(installed("torch"), "", 0, f"import torch took over {_PROBE_S:g} s")
    if done.returncode:
        last_lines = done.stderr.strip().splitlines()[-1:]
        return Torch(installed("torch"), "", 0, "".join(last_lines) or "import torch failed")
    return Torch(**json.loads(done.stdout.splitlines()[-1]))


def installed(name: str) -> str:
    """Installed version of a distribution; "" if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def read_constraints(path: Path = CONSTRAINTS) -> dict[str, str]:
    """Tested versions by distribution; empty outside a checkout, which has the constraints."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name.strip(): exact.strip("= ") for name, _, exact in pairs}


def find_versions() -> Iterator[Finding]:
    """Libraries whose version is not the tested one."""
    tested = read_constraints()
    others = [
        f"{name} {found} (tested with {wanted})"
        for name, wanted in tested.items()
        if (found := installed(name)) and found.partition("+")[0] != wanted
    ]
    if others:
        yield Finding(
            "versions",
            Verdict.WARNING,
            ", ".join(others),
            f"if something fails, install the tested versions: {extras.install('serve')}",
        )
    elif tested:
        yield Finding("versions", Verdict.OK, "all as tested")
    else:
        yield Finding("versions", Verdict.OK, "no constraints.txt: not a checkout, not compared")
