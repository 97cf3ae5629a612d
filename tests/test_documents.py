"""Documents and package files are true."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from benchmarks import picture
from benchmarks.results import read_results
from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.environment import Environment, pin_devices
from services.orchestrator.cli.main import app
from services.rpc.logs import LogSettings
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings
from tests.variables import Variables

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
SETTINGS: dict[str, type[StudentSettings] | type[TeacherSettings]] = {
    "TEACHER": TeacherSettings,
    "STUDENT": StudentSettings,
}


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
        LogSettings.from_environment(Environment(f"MPA_{role}_", variables))
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


def commands_of(document: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Environment and arguments of each `mpa-orch` in the document's indented blocks."""
    exported: dict[str, str] = {}
    for block in re.findall(r"(?:^    .*\n)+", document.read_text(), re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(Template(line).safe_substitute(exported), comments=True)
            start = words.index("mpa-orch") if "mpa-orch" in words else len(words)
            named = dict(word.split("=", 1) for word in words[:start] if re.match(r"\w+=", word))
            if words[:1] == ["export"]:
                exported |= named
            elif start < len(words):
                ends = [n for n, word in enumerate(words) if word in (">", "|", "&&")]
                yield {**exported, **named}, words[start + 1 : min(ends, default=None)]


@pytest.mark.parametrize("name", ["README.md", "docs/models.md"])
def test_commands_of_the_documents_are_taken(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    commands = list(commands_of(ROOT / name))
    assert len(commands) > 2
    for variables, arguments in commands:
        command, words = get_command(app), list(arguments)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(arguments[0], words)
        if arguments[0] == "serve":
            is_converted = "--convert" in arguments
            role = arguments[1].upper()
            given = {f"MPA_{role}_MODEL": "converted"} if is_converted else {}
            SETTINGS[role].from_env({**variables, **given})


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


def named_in_the_tree() -> list[str]:
    """Modules of services/ as docs/architecture.md lists them, a path without its suffix each."""
    _, _, listed = ARCHITECTURE.partition("\nservices/\n")
    found, folders = [], ["services"]
    for line in listed.partition("\n```")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"  +", line.strip())[0].split()
        del folders[depth:]
        found += ["/".join([*folders, name]) for name in names if not name.endswith("/")]
        folders += [name.rstrip("/") for name in names if name.endswith("/")]
    return found


def test_the_tree_names_every_module_once():
    modules = [
        str(path.relative_to(ROOT).with_suffix(""))
        for path in (ROOT / "services").rglob("*.py")
        if path.name != "__init__.py"
    ]
    named = named_in_the_tree()
    assert sorted(set(modules) - set(named)) == [], "name them in the tree of docs/architecture.md"
    assert sorted(set(named) - set(modules)) == [], "remove them from docs/architecture.md"
    assert len(named) == len(modules), "a module stands twice in docs/architecture.md"


def test_the_tree_names_every_folder_of_the_repository():
    tracked = subprocess.run(
        ["git", "ls-files", "*/*"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folders = {name.partition("/")[0] for name in tracked.stdout.split()}
    listed = re.findall(r"^(\w+)/", ARCHITECTURE.partition("\n## Modules\n")[2], re.MULTILINE)
    assert sorted(listed) == sorted(name for name in folders if not name.startswith("."))


def test_heavy_libraries_have_the_addresses_of_the_table():
    rows = re.findall(r"^\| (\w+) \| ((?:`[\w.]+`(?:, )?)+) \|$", ARCHITECTURE, re.MULTILINE)
    listed = {
        (address, library) for library, cell in rows for address in re.findall(r"`([\w.]+)`", cell)
    }
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    kept = next(each for each in contracts["contracts"] if "addresses" in each["name"])
    allowed = [line.split(" -> ") for line in kept["ignore_imports"]]
    assert listed == {
        (module.removeprefix("services.").removesuffix(".**"), library)
        for module, library in allowed
    }
    assert {library for library, _ in rows} == set(kept["forbidden_modules"])


DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("zoo/**/*.md")])
OPENINGS = ("Of", "Those", "What", "As", "How", "Why", "Where")
PLAIN = re.compile(r"\b(anew|beside|is told|so many|comes? home|goes on|that is away)\b")
"""Turns of phrase that a reader has to parse twice."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_plain_and_name_files_that_exist(path):
    text = path.read_text()
    headings = re.findall(r"^#+ (\w+)", text, re.MULTILINE)
    assert [word for word in headings if word in OPENINGS] == []
    assert PLAIN.findall(text) == []
    places = (ROOT, ROOT / "services", ROOT / "services/orchestrator", ROOT / "benchmarks")
    named = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|toml|proto|cfg|yaml))`", text)
    assert [name for name in named if not any((at / name).exists() for at in places)] == []
    links = re.findall(r"\]\(([^):#]+)(?:#[\w-]+)?\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_no_text_names_a_package_of_an_index():
    """The package is installed from a clone; only pyproject.toml refers to its own extras."""
    tracked = subprocess.run(
        ["git", "grep", "--fixed-strings", "--name-only", "model-parity-aligner" + "["],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert tracked.stdout.split() == ["pyproject.toml"]
