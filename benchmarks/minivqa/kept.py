"""Keep an experiment's results in one file: answers and figures, without runs, weights and logs.

    python -m benchmarks.minivqa.kept pack OUT FILE.tar.xz
    python -m benchmarks.minivqa.kept unpack FILE.tar.xz OUT

From an unpacked OUT, `mpa-orch experiment` makes its tables without a training. It does what is
missing, too, with annotations of its own. Files that OUT has are kept.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from pathlib import Path

from services.orchestrator.experiments.plan import RUNS
from services.orchestrator.experiments.uses import RECORD

ARMS = "arms"


def pack(out: Path, archive: Path) -> int:
    """Write the archive; return its number of files.

    Answers to the same questions follow each other, so an arm adds little. Ends the program if OUT
    has no results.
    """
    files = sorted(_files(out), key=lambda path: (path.parent.name, path.name, path))
    if not files:
        raise SystemExit(f"{out} has no results of an experiment: give its --out")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(archive.name + ".partial")
    with tarfile.open(unfinished, "w:xz", preset=9) as tar:
        for path in files:
            tar.add(path, path.relative_to(out), filter=_plain)
    unfinished.rename(archive)
    return len(files)


def unpack(archive: Path, out: Path) -> int:
    """Write the files that OUT lacks; return their number."""
    with tarfile.open(archive) as tar:
        missing = [member for member in tar if not (out / member.name).exists()]
        tar.extractall(out, missing, filter="data")
    return len(missing)


def _files(out: Path) -> Iterator[Path]:
    """All answers and figures. Runs are left out: they name images by their place on a machine."""
    found = [*(out / ARMS).rglob("*"), *(out / RUNS).glob("*/*.json"), out / RECORD]
    yield from (path for path in found if path.is_file() and path.name != ".lock")


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
