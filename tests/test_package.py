"""The package: its dependencies, and what an installation without extras can do."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.orchestrator.cli.main import app
from services.orchestrator.doctor.libraries import read_constraints
from services.rpc.hosting import VLLM
from tests.installation import copy_source, install

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {
    "accelerate",
    "bentoml",
    "matplotlib",
    "nltk",
    "pandas",
    "peft",
    "ray",
    "safetensors",
    "starlette",
    "torch",
    "torchvision",
    "transformers",
    "uvicorn",
    "vllm",
}
RECORD = {"image": "pool/000.png", "question": "what color is object 1?", "answers": ["red"]}
IMPORT_ALL = """
import pkgutil
import services
for module in pkgutil.walk_packages(services.__path__, "services."):
    try:
        __import__(module.name)
    except ModuleNotFoundError as error:
        print(error.name.split(".")[0])
"""
EXPERIMENT = """
title = "A small one"
students = ["qwen2vl-2b"]
teachers = ["qwen2vl-7b"]
arms = ["zero-shot", "paper"]

[tasks.vqa]
pool = "pool"
test = { files = "labelled.jsonl" }
"""


def commands(group, *before):
    for name, command in group.commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)


def test_a_dozen_hard_dependencies():
    assert len(PROJECT["dependencies"]) <= 12


def test_the_extras_that_messages_name_exist():
    sources = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    named = re.findall(r"extras\.install\(['\"](\w+)|extras\.require\([^,]+, \"(\w+)", sources)
    found = {one or other for one, other in named}
    assert {"serve", "ray", "audit", "captions"} <= found <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("bentofile", ["bentofile.yaml", "services/teacher/bentofile.yaml"])
def test_bentos_want_what_a_service_wants(bentofile):
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *extras["tracing"], *extras["serve"]]
    wanted = {Requirement(requirement).name: requirement for requirement in requirements}
    listed = yaml.safe_load((ROOT / bentofile).read_text())["python"]["packages"]
    assert sorted(listed) == sorted(wanted.values())


@pytest.mark.parametrize("bentofile", ["bentofile.yaml", "services/teacher/bentofile.yaml"])
def test_bentos_have_all_that_their_modules_import(bentofile):
    included = [ROOT / name for name in yaml.safe_load((ROOT / bentofile).read_text())["include"]]
    modules = [
        module for each in included for module in (each.rglob("*.py") if each.is_dir() else [each])
    ]
    imports = re.compile(r"^ *from (services(?:\.\w+)?) import (\w+)", re.MULTILINE)
    for module in modules:
        for package, name in imports.findall(module.read_text()):
            path = ROOT / (package if package != "services" else f"services.{name}").replace(
                ".", "/"
            )
            assert path in included or path.with_suffix(".py") in included, (module, path)


def test_a_bento_for_vllm_wants_the_extras_vllm():
    vllm, telemetry = VLLM
    assert vllm in PROJECT["optional-dependencies"]["vllm"]
    assert telemetry in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.slow
def test_an_installation_without_extras_is_small_and_typed(installation, tmp_path):
    assert not installation.distributions & HEAVY
    program = "import services.rpc.client; from importlib.resources import files; print(*("
    program += "(files(name) / 'py.typed').is_file() for name in ('services', 'protos')))"
    done = installation.run("python", "-c", program, cwd=tmp_path)
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.slow
def test_the_extra_serve_has_all_that_the_services_import(wheel, tmp_path):
    installed = install(wheel, tmp_path / "environment", "serve")
    done = installed.run("python", "-c", IMPORT_ALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"matplotlib", "ray", "vllm"}


@pytest.mark.slow
def test_the_documented_installation_resolves_to_the_read_constraints(tmp_path):
    source = copy_source(tmp_path / "source")
    report = tmp_path / "report.json"
    constraints = ROOT / "constraints.txt"
    options = ["--dry-run", "--ignore-installed", "--report", report, "-c", constraints]
    command = [sys.executable, "-m", "pip", "--quiet", "install", *options, ".[vllm]"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    chosen = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    versions = {str(canonicalize_name(one["name"])): one["version"] for one in chosen}
    wrong = {
        name: (versions[name], wanted)
        for name, wanted in read_constraints(constraints).items()
        if versions.get(name, wanted) != wanted
    }
    assert not wrong
    assert {"vllm", "torch", "torchvision", "transformers", "bentoml"} <= versions.keys()


@pytest.mark.slow
def test_every_command_has_its_help(installation, tmp_path):
    named = [(), *commands(typer.main.get_command(app))]
    assert len(named) > 25
    program = "import json, sys\nfrom typer.testing import CliRunner\n"
    program += "from services.orchestrator.cli.main import app\n"
    program += "invoke = CliRunner().invoke\n"
    program += "for one in json.loads(sys.argv[1]):\n"
    program += "    assert invoke(app, [*one, '--help']).exit_code == 0, one\n"
    done = installation.run("python", "-c", program, json.dumps(named), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "align" in installation.run("mpa-orch", "--help", cwd=tmp_path).stdout


@pytest.mark.slow
def test_it_aligns_on_running_services(remote):
    assert remote.aligned.returncode == 0, remote.aligned.stderr
    summary = json.loads((remote.folder / "run" / "summary.json").read_text())
    assert summary["promoted"]
    assert summary["version"] == {"before": "v1", "after": "v2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("status", "run"),
        ("rounds", "run"),
        ("matchers", "run"),
        ("runs", "list", "."),
        ("runs", "show", "run"),
        ("runs", "export", "run", "--format", "hf", "--output", "hf"),
        ("runs", "export", "run", "--format", "webdataset", "--output", "shards"),
        ("audit", "draw", "run", "--output", "audit"),
        ("audit", "errors", "run"),
        ("cache", "show"),
        ("models",),
    ],
    ids=" ".join,
)
def test_a_run_is_read_without_services(remote, command):
    done = remote.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_other_commands_that_ask_services(remote):
    (remote.folder / "labelled.jsonl").write_text(json.dumps(RECORD) + "\n")
    (remote.folder / "small.toml").write_text(EXPERIMENT)
    teacher, student = ("--teacher", remote.teacher.address), ("--student", remote.student.address)
    evaluate = ("datasets", "evaluate", "labelled.jsonl", "--task", "vqa", "--out", "evaluated")
    begin = ("annotate", "pool", "--task", "vqa", "--recipe", "rehearsal", "--run", "second")
    for command in (
        ("rollback", *student),
        ("ask", "pool/000.png", RECORD["question"], *student),
        ("quote", "pool", "--task", "vqa", "--run", "quoted", *teacher, *student),
        ("datasets", "check", "labelled.jsonl"),
        (*evaluate, *student),
        (*begin, *teacher),
        ("identify", "second", *teacher, *student),
        ("level", "second", *student),
        ("evaluate", "second", *student),
        ("promote", "second", *student),
        ("runs", "compare", "run", "second"),
        ("experiment", "small.toml", *teacher, *student),
    ):
        done = remote.run(*command)
        assert done.returncode == 0, (command, done.stdout + done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("ui", "."), "ui"),
        (("report", "."), "ui"),
        (("serve", "teacher"), "serve"),
        (("serve", "student"), "serve"),
        (("align", "pool", "--task", "vqa", "--run", "here", "--local"), "serve"),
        (("align", "pool", "--task", "vqa", "--run", "one", "--single-device"), "serve"),
        (("align", "s3://bucket/images", "--task", "vqa", "--run", "far"), "s3"),
        (("align", "pool", "--task", "vqa", "--run", "wide", "--engine", "ray"), "ray"),
    ],
    ids=str,
)
def test_a_missing_extra_is_named(remote, command, extra):
    is_here = {"serve", "ui", "report", "--local", "--single-device"} & set(command)
    done = remote.run(*command, *(() if is_here else remote.addresses))
    assert done.returncode == 1, done.stderr
    assert f"pip install -c constraints.txt '.[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("everything", "code"), [("", 0), ("1", 2)])
def test_an_audit_that_reaches_nobody_says_so(everything, code):
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit"],
        env={**os.environ, **nowhere, "MPA_TEST_EVERYTHING": everything},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert "NOT AUDITED" in done.stdout
