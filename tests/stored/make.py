"""Makes stored.tar.gz with the program of an earlier commit.

    git worktree add --detach ../before d356e3b
    mkdir ../before/tests/stored && cp tests/stored/*.py ../before/tests/stored/
    cd ../before && PYTHONPATH=$PWD python -m tests.stored.make /tmp/stored

This writes /tmp/stored.tar.gz, which holds:

    unfinished/   a run against the scripted services, killed while it identified its records
    finished/     a run of two rounds against services with the fake engine
    store/        the store of that student
    printed/      the output of `mpa-orch runs list` and `runs show` for both runs
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import tarfile
from pathlib import Path

from services.orchestrator.cli.main import main
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from tests.serving import fake_student_settings, serving_student, teacher_at
from tests.stored.pool import POOL, fill_pool, rejects
from tests.waiting import until

FEW = 48
"""Images of the unfinished run."""


async def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    await make_unfinished(folder / "unfinished")
    await make_finished(folder / "finished", folder / "student")
    shutil.move(folder / "student" / "store", folder / "store")
    shutil.rmtree(folder / "student")
    shutil.rmtree(folder / "teacher")
    (folder / "printed").mkdir()
    for name in ("unfinished", "finished"):
        run = folder / name
        close(run / "ledger.sqlite")
        shown = await output("runs", "show", run, "--limit", 10_000, "--json")
        (folder / "printed" / f"{name}-records.jsonl").write_text(shown)
    (folder / "printed" / "list.json").write_text(await output("runs", "list", folder, "--json"))
    with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(folder, ".", filter=plain)


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out the owner of each file, locks and the empty logs of closed ledgers."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return None if entry.name.endswith((".lock", "-shm", "-wal")) else entry


async def make_unfinished(run: Path) -> None:
    async with (
        serving(ScriptedTeacher(rejects=rejects, delay_s=0.05)) as teacher,
        serving(ScriptedStudent(delay_s=0.05)) as student,
    ):
        run_of = ["--run", run, "--recipe", "rehearsal", "--limit", FEW, "--task", "vqa"]
        await output("annotate", POOL, *run_of, "--teacher", teacher, "--no-cache")
        services = ["--teacher", teacher, "--student", student]
        process = await orchestrator("identify", run, *services, "--no-cache")
        await until(lambda: count(run / "ledger.sqlite", "records") >= FEW)
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()


async def make_finished(run: Path, student_folder: Path) -> None:
    async with (
        teacher_at(run.parent / "teacher", skill=0.97) as teacher,
        serving_student(fake_student_settings(student_folder, skill=0.3)) as student,
    ):
        run_of = ["--run", run, "--recipe", "rehearsal", "--rounds", 2, "--task", "vqa"]
        services = ["--teacher", teacher, "--student", student.address]
        await output("align", POOL, *run_of, *services, "--no-cache", "--yes")


async def orchestrator(*arguments: object) -> asyncio.subprocess.Process:
    """`mpa-orch` in a process of its own, which has the pool in its memory."""
    command = [sys.executable, "-m", "tests.stored.make", "mpa-orch", *map(str, arguments)]
    return await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "MPA_FAKE_STEP_S": "0"},
    )


async def output(*arguments: object) -> str:
    process = await orchestrator(*arguments)
    printed, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}: {printed.decode()}")
    return printed.decode()


def count(ledger: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def close(ledger: Path) -> None:
    """Takes the log of a killed writer into the file, as the next one would."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    if sys.argv[1] == "mpa-orch":
        fill_pool()
        del sys.argv[1]
        main()
    else:
        asyncio.run(make(Path(sys.argv[1])))
