"""What the documents and the package files say is so."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.orchestrator.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("bentofile", ["bentofile.yaml", "services/teacher/bentofile.yaml"])
def test_bentos_want_what_the_package_wants(bentofile):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((ROOT / bentofile).read_text())["python"]["packages"] == project["dependencies"]


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"mpa-orch (\w+)", README)) | set(
        re.findall(r"`(annotate|identify|level|evaluate|promote)`", README)
    )
    assert {"align", "annotate", "identify", "level", "evaluate", "promote", "status", "ask", "rollback", "serve"} <= named
    for command in named:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_the_readme_names_every_task_and_recipe():
    for name in [*TASKS, *RECIPES]:
        assert f"`{name}`" in README


def test_every_path_of_the_readme_exists():
    for link in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / link).exists(), link


def test_make_targets_of_the_documents_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"^    make (\w+)", (ROOT / document).read_text(), re.MULTILINE)) <= targets


def test_the_core_loads_nothing_heavy():
    heavy = ("torch", "transformers", "grpc", "google", "bentoml", "PIL", "typer", "rich", "httpx")
    program = f"import sys, pkgutil, importlib, services.core as core; [importlib.import_module(f'services.core.{{m.name}}') for m in pkgutil.iter_modules(core.__path__)]; print([m for m in {heavy!r} if m in sys.modules])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("pipeline-transformers-bundled", "{:.1f} images/s on two cores (transformers)"),
        ("pipeline-vllm-bundled", "{:.1f} (vLLM)"),
        ("stream-transformers-bundled", "{:.0f} answers/s on two cores"),
        ("training-bundled", "{:.1f} samples/s on two cores"),
    ],
)
def test_the_rates_that_scale_is_worked_out_from_are_the_measured_ones(row, said):
    measured = json.loads((ROOT / f"benchmarks/results/{row}.json").read_text())["ours"]
    assert said.format(measured) in (ROOT / "docs/scale.md").read_text()
