"""Keep an experiment's results in one file: answers and figures, without runs, weights and logs.

    python -m benchmarks.minivqa.kept pack OUT FILE.tar.xz
    python -m benchmarks.minivqa.kept unpack FILE.tar.xz OUT
    python -m benchmarks.minivqa.kept table FILE.tar.xz

From an unpacked OUT, `mpa-orch experiment` makes its tables without a training, and trains what is
missing, with annotations of its own. The students that were packed can't be asked anything more:
questions of another draw need an OUT of their own. Files that OUT has are kept. `table` prints the
official scores of arms that are complete, each on the family that it was trained on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from services.orchestrator.experiments.plan import EVALUATIONS, RUNS
from services.orchestrator.experiments.uses import RECORD
from services.orchestrator.scoring.report import table
from zoo.minivqa.families import FAMILIES

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
    """Write the files that OUT lacks, each whole or not at all; return their number."""
    written = 0
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=_made(out)) as folder:
        for member in tar:
            target = out / member.name
            if not target.exists():
                tar.extract(member, folder, filter="data")
                _made(target.parent)
                (Path(folder) / member.name).rename(target)
                written += 1
    return written


def scores(archive: Path, draw: str = "dev") -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Official scores of each student and arm: by family, of those trained on it, and by seed."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    with tarfile.open(archive) as tar:
        for member in sorted(tar, key=lambda member: member.name):
            path = Path(member.name)
            family, _, drawn = path.parent.name.partition("@")
            # arms/ARM/STUDENT/TEACHER/FAMILY/seedN/on/FAMILY@DRAW/figures.json, if it is trained
            trained_on, seed = path.parts[4:6] if len(path.parts) == 9 else (family, "")
            if path.name == "figures.json" and drawn == draw and trained_on == family:
                read = tar.extractfile(member)
                assert read is not None
                _, arm, student, *_ = path.parts
                found[student, arm][family][seed] = json.load(read)["official"]
    return found


def score_table(archive: Path) -> list[str]:
    """Lines of a table of means in percent, over the seeds that an arm has of every family."""
    kept = scores(archive)
    rows = []
    for (student, arm), families in sorted(kept.items()):
        seeds = set.intersection(*(set(families[family]) for family in FAMILIES))
        if seeds:
            means = [
                statistics.fmean(families[family][seed] for seed in seeds) for family in FAMILIES
            ]
            before = [kept[student, "zero-shot"][family][""] for family in FAMILIES]
            gain = statistics.fmean(means) - statistics.fmean(before)
            shown = [f"{100 * mean:.1f}" for mean in means]
            rows.append((student, f"`{arm}`", f"{len(seeds)}", *shown, f"{100 * gain:+.1f}"))
    titles = [family.replace("_", " ") for family in FAMILIES]
    return table(("student", "arm", "seeds", *titles, "mean gain"), rows)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(out: Path) -> Iterator[Path]:
    """Answers and figures of everything that is finished.

    Runs are left out: they name images by their place on a machine. A training without all its
    answers is left out, too: nobody could ask a student whose weights aren't kept.
    """
    yield from (path for path in (*(out / RUNS).glob("*/*.json"), out / RECORD) if path.is_file())
    for evaluations in (out / ARMS).rglob(EVALUATIONS):
        measured = [path for path in evaluations.iterdir() if path.is_dir()]
        if all((folder / "figures.json").is_file() for folder in measured):
            yield from evaluations.parent.glob("*.json")
            yield from (path for path in evaluations.rglob("*") if _is_kept(path))


def _is_kept(path: Path) -> bool:
    return path.is_file() and path.name != ".lock"


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
    commands.add_parser("table").add_argument("archive", type=Path)
    given = parser.parse_args()
    if given.command == "table":
        print(*score_table(given.archive), sep="\n")
    elif given.command == "pack":
        print(f"{pack(given.out, given.archive)} files in {given.archive}")
    else:
        print(f"{unpack(given.archive, given.out)} files written to {given.out}")


if __name__ == "__main__":
    main()
