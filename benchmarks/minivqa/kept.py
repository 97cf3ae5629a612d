"""Keep an experiment's results in one file: runs, answers and figures, without weights and logs.

    python -m benchmarks.minivqa.kept pack OUT FILE.tar.xz
    python -m benchmarks.minivqa.kept unpack FILE.tar.xz OUT

From an unpacked OUT, `mpa-orch experiment` makes its tables without a training, and goes on where
the packed one was. Files that OUT has are kept.
"""

from __future__ import annotations

import argparse
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from services.orchestrator.experiments.plan import RUNS
from services.orchestrator.experiments.uses import RECORD

ARMS = "arms"
LEDGER = "ledger.sqlite"
LEFT_OUT = {".lock", f"{LEDGER}-shm", f"{LEDGER}-wal"}


def pack(out: Path, archive: Path) -> int:
    """Write the archive; return its number of files.

    Answers to the same questions follow each other, so an arm adds little. A ledger that is in use
    is copied as it is at one moment. Ends the program if OUT has no results.
    """
    files = sorted(_files(out), key=lambda path: (path.parent.name, path.name, path))
    if not files:
        raise SystemExit(f"{out} has no results of an experiment: give its --out")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(archive.name + ".partial")
    with (
        tempfile.TemporaryDirectory() as folder,
        tarfile.open(unfinished, "w:xz", preset=9) as tar,
    ):
        for path in files:
            source = _snapshot(path, Path(folder)) if path.name == LEDGER else path
            tar.add(source, path.relative_to(out), filter=_plain)
    unfinished.rename(archive)
    return len(files)


def unpack(archive: Path, out: Path) -> int:
    """Write the files that OUT lacks; return their number."""
    with tarfile.open(archive) as tar:
        missing = [member for member in tar if not (out / member.name).exists()]
        tar.extractall(out, missing, filter="data")
    return len(missing)


def _files(out: Path) -> Iterator[Path]:
    if (out / RECORD).is_file():
        yield out / RECORD
    for folder in (ARMS, RUNS):
        yield from (
            path
            for path in (out / folder).rglob("*")
            if path.is_file() and path.name not in LEFT_OUT
        )


def _snapshot(ledger: Path, folder: Path) -> Path:
    copy = folder / LEDGER
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    return copy


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the owner and the time of this machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, first, second in (("pack", "out", "archive"), ("unpack", "archive", "out")):
        command = commands.add_parser(name)
        command.add_argument(first, type=Path)
        command.add_argument(second, type=Path)
    given = parser.parse_args()
    if given.command == "pack":
        print(f"{pack(given.out, given.archive)} files in {given.archive}")
    else:
        print(f"{unpack(given.archive, given.out)} files written to {given.out}")


if __name__ == "__main__":
    main()
