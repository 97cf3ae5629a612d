"""The choice of exported records; an export is written as a whole or not at all."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from rich.console import Console

from services.orchestrator.cli import commands
from services.orchestrator.exports import ExportFormat
from services.orchestrator.exports.export import export as export_run
from services.orchestrator.exports.samples import choose
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run, read_run
from tests.orchestrator.conftest import bench
from tests.orchestrator.exports.conftest import sha256
from tests.orchestrator.run.runs import said
from tests.pictures import png

ROOT = Path(__file__).resolve().parents[3]
FORMATS = list(ExportFormat)


@pytest.fixture
def own_run(run, pool, tmp_path):
    """A copy of the run and its images that a test may damage."""
    shutil.copytree(pool, tmp_path / "pool")
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    moved = f"replace(value, '{pool}', '{tmp_path / 'pool'}')"
    settings = f"UPDATE meta SET value = {moved} WHERE key = 'settings'"
    with open_run(folder) as opened:
        opened.ledger.write(settings)
    return folder


def left(tmp_path):
    return [path.name for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_already_is_not_overwritten(export, tmp_path, form):
    output = export(form)
    before = output.stat().st_mtime_ns
    assert "already exists" in export(form, code=1)
    assert output.stat().st_mtime_ns == before
    assert left(tmp_path) == [output.name]


@pytest.mark.parametrize("form", [form for form in FORMATS if form != ExportFormat.PARQUET])
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(Path.unlink, "is none now"), (lambda p: p.write_bytes(png()), "has changed")],
)
def test_an_image_that_has_gone_or_changed_ends_the_export_with_nothing_left(
    own_run, tmp_path, form, spoil, complaint
):
    spoil(sorted((tmp_path / "pool").iterdir())[30])
    given = ("runs", "export", own_run, "--format", form, "--output", tmp_path / "out", "--all")
    assert complaint in said(*given, code=1)
    assert left(tmp_path) == []


def test_a_full_disk_or_a_place_that_can_not_be_written_is_told(run, tmp_path):
    given = ("runs", "export", str(run), "--format", "llava")
    assert "can't be written" in said(*given, "--output", "/proc/nowhere/out", code=1)
    program = f'ulimit -f 40; exec "{sys.executable}" -m services.orchestrator.cli.main "$@"'
    # A limit on the size of files stands in for the full disk.
    large = ("runs", "export", str(run), "--format", "webdataset", "--all")
    done = subprocess.run(
        ["bash", "-c", program, "bash", *large, "--output", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "make room" in done.stderr
    assert left(tmp_path) == []


async def annotate(folder, pool):
    async with bench(folder, pool) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)


def test_a_run_without_a_parity_set_exports_what_it_has(tmp_path, pool):
    asyncio.run(annotate(tmp_path / "run", pool))
    given = ("runs", "export", tmp_path / "run", "--format", "llava", "--output")
    assert "mpa-orch identify" in said(*given, tmp_path / "out", code=1)
    assert "nothing of the run" in said(*given, tmp_path / "out", "--cell", "gap", code=1)
    assert left(tmp_path) == []
    assert "records in" in said(*given, tmp_path / "out", "--all")


def test_cells_are_chosen_and_nothing_held_out_is_trained_on(export, records):
    from json import loads

    held_out = {row["image_sha256"] for row in records if row["held_out"]}
    assert held_out
    items = loads(
        (export("llava", "--cell", "gap", "--cell", "noise_both_wrong") / "llava.json").read_text()
    )
    wanted = [r for r in records if r["cell"] in ("gap", "noise_both_wrong") and not r["held_out"]]
    assert {item["id"] for item in items} == {
        f"{row['image_sha256']}-{row['number']}" for row in wanted
    }


@pytest.mark.parametrize("form", ["llava", "webdataset", "vlmevalkit", "authors", "chat"])
def test_memory_does_not_grow_with_the_images(tmp_path, own_run, form):
    """Images of 1 MiB: some 50 of them are exported, a few are held."""
    for path in (tmp_path / "pool").glob("[0-9]*.png"):
        grow(own_run, path)
    with read_run(own_run) as opened, Progress(Console(quiet=True)) as progress:
        tracemalloc.start()
        try:
            export_run(opened, choose([], True), ExportFormat(form), tmp_path / "out", progress)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (
        sum(
            path.stat().st_size
            for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]
            if path.is_file()
        )
        > 40 * 2**20
    )
    assert peak < 16 * 2**20


def grow(run: Path, path: Path) -> None:
    """Add a tail of random bytes to an image, which decoders ignore."""
    old = path.read_bytes()
    path.write_bytes(old + os.urandom(2**20))
    names = (
        ("images", "sha256"),
        ("annotations", "image_sha256"),
        ("answers", "image_sha256"),
        ("records", "image_sha256"),
    )
    with open_run(run) as opened, opened.ledger.at_once():
        for table, column in names:
            opened.ledger.write(
                f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                sha256(path.read_bytes()),
                sha256(old),
            )


def test_interrupted_it_leaves_nothing(own_run, tmp_path):
    for path in (tmp_path / "pool").glob("[0-9]*.png"):
        grow(own_run, path)
    program = (sys.executable, "-m", "services.orchestrator.cli.main", "runs", "export", own_run)
    given = ("--format", "llava", "--all", "--output", tmp_path / "out")
    process = subprocess.Popen([*program, *given], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        while (
            not any(name.startswith(".out") for name in left(tmp_path)) and process.poll() is None
        ):
            pass
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert b"interrupted" in told
    assert left(tmp_path) == []
