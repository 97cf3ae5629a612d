"""Memory of this machine that a process may use, and the kernel's kills of those that took more.

A container, or a service of systemd, has its limit in its control group (cgroup, version 1 or 2)
or in one above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Folder that holds proc and sys."""
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "active_file", "inactive_file")
"""Files of limit and use, and names of the cached files in memory.stat."""


def machine_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes that this process may use: available, total."""
    kibibytes = _read_table(root / "proc" / "meminfo")
    available, total = kibibytes["MemAvailable:"] * 2**10, kibibytes["MemTotal:"] * 2**10
    for limit, used in _limits(root):
        available = min(available, max(limit - used, 0))
        total = min(total, limit)
    return available, total


def count_kills(root: Path = ROOT) -> int:
    """Processes that the kernel killed since it started because memory ran out; 0 if unknown.

    It counts the whole machine, whatever group the processes were in.
    """
    return _read_table(root / "proc" / "vmstat").get("oom_kill", 0)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each group that this process is in, in bytes."""
    groups = root / "proc" / "self" / "cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mounted = root / "sys" / "fs" / "cgroup" / ("memory" if controllers else "")
        # A container may see the name that its group has outside, but not the folder.
        own = mounted / path.strip("/")
        for folder in (own, *own.parents):
            yield from _limit(folder, *(_V1 if controllers else _V2))
            if folder == mounted:
                break


def _limit(folder: Path, limit: str, use: str, *cached: str) -> Iterator[tuple[int, int]]:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        table = _read_table(folder / "memory.stat")
    except OSError:
        return
    if most != "max":
        yield int(most), used - sum(table.get(name, 0) for name in cached)


def _read_table(path: Path) -> dict[str, int]:
    """Rows of a name and a number; {} if there is no such file."""
    rows = (line.split() for line in path.read_text().splitlines()) if path.is_file() else ()
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}
