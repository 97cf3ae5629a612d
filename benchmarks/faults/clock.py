"""The wall clock of a service, which jumps while it runs. Nobody else's clock changes."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")
_COUNT = struct.Struct("<qq")
_JUMP = struct.Struct("<qq")
_MOST = 255
NANOSECONDS = 10**9


def require_compiler() -> None:
    """Raises RuntimeError: there is none."""
    if shutil.which("cc") is None:
        raise RuntimeError("no C compiler cc, which makes a clock that jumps: install gcc")


class JumpingClock:
    """The clock of all processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        path = folder / "clock"
        path.write_bytes(bytes(_COUNT.size + _MOST * _JUMP.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self._jumps = 0
        self.offset_s = 0
        self.environment = {"LD_PRELOAD": str(library), "MPA_FAULTS_CLOCK": str(path)}

    def jump(self, seconds: int) -> None:
        """Set the clock forward, or back if `seconds` is below 0."""
        self.offset_s += seconds
        at = _COUNT.size + self._jumps * _JUMP.size
        _JUMP.pack_into(self._shared, at, time.time_ns(), self.offset_s * NANOSECONDS)
        self._jumps += 1
        _COUNT.pack_into(self._shared, 0, self._jumps, 0)
