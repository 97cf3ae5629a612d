"""What the documents and the package files say is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import picture
from benchmarks.results import read_results
from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.environment import pin_devices
from services.orchestrator.cli.main import app
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"mpa-orch (\w+)", README)) | set(
        re.findall(r"`(annotate|identify|level|evaluate|promote)`", README)
    )
    assert {
        "align",
        "annotate",
        "identify",
        "level",
        "evaluate",
        "promote",
        "status",
        "ask",
        "rollback",
        "serve",
    } <= named
    for command in named:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_the_readme_names_every_task_and_recipe():
    for name in [*TASKS, *RECIPES]:
        assert f"`{name}`" in README


def test_every_path_of_the_readme_exists():
    for link in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_the_picture_shows_the_table_of_the_demo():
    kinds = picture.read_table((ROOT / "docs/results.md").read_text())
    assert [kind.name for kind in kinds][:1] == ["all 9,673"]
    assert picture.PICTURE.read_text() == picture.draw(kinds)
    assert f"]({picture.PICTURE.relative_to(ROOT)})" in README


class Variables(dict):
    """Environment variables that remember which of them were looked up."""

    def __init__(self, **given):
        super().__init__(given)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def test_the_settings_of_the_services_are_documented():
    teacher = Variables(
        MPA_TEACHER_ENGINE="openai", MPA_TEACHER_MODEL="gpt-4o", MPA_TEACHER_BATCH="1"
    )
    student = Variables(MPA_STUDENT_UPLOADS_MAX_GIB="1")
    for role, settings, variables in (
        ("TEACHER", TeacherSettings, teacher),
        ("STUDENT", StudentSettings, student),
    ):
        pin_devices(f"MPA_{role}_", variables)
        settings.from_env(variables)
    read = {re.sub(r"^MPA_(TEACHER|STUDENT)_", "", name) for name in teacher.names | student.names}
    document = (ROOT / "docs/services.md").read_text()
    first_columns = re.findall(r"^\| (`[A-Z][^|]*)\|", document, re.MULTILINE)
    documented = {
        name for column in first_columns for name in re.findall(r"`(?!MPA_)([A-Z_]+)`", column)
    }
    assert documented == {name for name in read if not name.startswith("OPENAI_")}
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        assert f"`{name}" in document


def test_make_targets_of_the_documents_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        assert (
            set(re.findall(r"^    make (\w+)", (ROOT / document).read_text(), re.MULTILINE))
            <= targets
        )


def test_the_core_loads_nothing_heavy():
    heavy = ("torch", "transformers", "grpc", "google", "bentoml", "PIL", "typer", "rich", "httpx")
    program = f"import sys, pkgutil, importlib, services.core as core; [importlib.import_module(f'services.core.{{m.name}}') for m in pkgutil.iter_modules(core.__path__)]; print([m for m in {heavy!r} if m in sys.modules])"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
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
    measured = next(each.ours for each in read_results() if each.name == row)
    assert said.format(measured) in (ROOT / "docs/scale.md").read_text()
