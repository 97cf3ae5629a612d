"""A disk of its own for the store, which can be full: a file system in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_ISOLATED = "MPA_FAULTS_ISOLATED"
_WAYS = (["unshare", "-rm"], ["unshare", "-m"])
ROOM_BYTES = 256 * 2**20
PAGE_BYTES = 4096


def isolate(module: str) -> None:
    """Start this program again where it may mount a file system, which ends with it.

    Raises RuntimeError: this machine doesn't let it.
    """
    if _ISOLATED in os.environ:
        return
    for way in _WAYS:
        if shutil.which("unshare") and subprocess.run([*way, "true"], check=False).returncode == 0:
            os.environ[_ISOLATED] = "1"
            os.execvp(way[0], [*way, sys.executable, "-m", module, *sys.argv[1:]])
    raise RuntimeError("a full disk needs a file system of its own, and `unshare -rm` is refused")


class Disk:
    """A file system mounted at `path`, with room to change at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "none", str(path)], check=True
        )

    @property
    def used_bytes(self) -> int:
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def fill(self, left_bytes: int = 0) -> None:
        """Leave `left_bytes` of room, as if others had taken the rest."""
        while not self._resize(self.used_bytes + left_bytes // PAGE_BYTES * PAGE_BYTES):
            pass  # the store has grown meanwhile

    def free(self) -> None:
        self._resize(ROOM_BYTES)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=False)

    def _resize(self, size_bytes: int) -> bool:
        command = ["mount", "-o", f"remount,size={size_bytes}", str(self.path)]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
