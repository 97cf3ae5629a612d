"""The five rows of `make bench-mini`, from the shipped files, on a benchmark of a few pictures."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.minivqa.claims import STUDENT, TEACHER, Results, claims
from services.core.errors import NotFound
from services.orchestrator.experiments import flow, report
from services.orchestrator.experiments.file import read_experiment
from services.orchestrator.experiments.site import Site
from services.orchestrator.run.progress import Progress
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from zoo.minivqa.__main__ import build
from zoo.minivqa.families import FAMILIES

MINI = Path(__file__).resolve().parents[2] / "experiments" / "mini"


def one_seed(name: str, folder: Path) -> Path:
    path = folder / f"{name}.toml"
    path.write_text("seeds = [0]\nlatency = 0\n" + (MINI / f"{name}.toml").read_text())
    return path


async def run(names, folder: Path) -> Results:
    build(folder / "minivqa", pool=120, labels=110, test=6, draws=6, anchors=4, seed=0)
    async with serving(ScriptedTeacher()) as teacher, serving(ScriptedStudent()) as student:
        site = Site(folder / "out", {TEACHER: teacher}, {STUDENT: student})
        for name in names:
            experiment = read_experiment(one_seed(name, folder), folder)
            with Progress(Console(file=io.StringIO())) as progress:
                await flow.work(experiment, site, progress)
            report.write(experiment, folder / "out")
    return Results(folder / "out")


@pytest.mark.slow
async def test_the_shipped_files_make_the_five_rows(tmp_path):
    results = await run(("table1", "table5", "table6", "table3"), tmp_path)
    lines = claims(results, seed=0)
    assert [line for line in lines if line.startswith("## ")] == [
        "## MPA improves the student on every task (Table 1)",
        "## PI beats all pseudo-labels with a fraction of the samples (Tables 6, 9)",
        "## MPA beats 100 human labels (Table 5)",
        "## PI raises the annotations' quality (Table 4)",
        "## Gains carry over (Tables 3, 7)",
    ]
    text = "\n".join(lines)
    for family in FAMILIES:
        row = results.cell("table6", "without-pi", family)
        assert row["task"] == row["on"] == family
        assert row["samples"] >= results.cell("table6", "paper", family)["samples"] >= 16
        assert results.cell("table3", "paper", f"{family}_harder", "charts")["seeds"] == 1
        assert f"| {family}_harder " in text
    annotated = [
        line
        for line in lines[lines.index("## PI raises the annotations' quality (Table 4)") :]
        if "| 120" in line
    ]
    assert len(annotated) == len(FAMILIES), (
        "an annotation of each image, none of which the benchmark knows"
    )


async def test_what_has_not_been_run_is_named(tmp_path):
    with pytest.raises(
        NotFound, match=r"there is no .*table1.json: run experiments/mini/table1.toml"
    ):
        claims(Results(tmp_path), seed=0)
