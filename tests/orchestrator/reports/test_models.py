"""`mpa-orch models`: the table for people and programs, one model in full, and docs/models.md."""

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from services.core.memory import GIB
from services.core.presets import PRESETS
from services.orchestrator.cli.main import app
from services.orchestrator.reports import models
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings
from tests.test_documents import ROOT

DOCUMENT = (ROOT / "docs" / "models.md").read_text()


def ask(*arguments):
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_line_for_each_model_that_tools_can_cut():
    heading, *lines = ask().splitlines()
    assert heading.split("\t") == list(models.COLUMNS)
    assert [line.split("\t")[0] for line in lines] == list(PRESETS)
    fields = next(line.split("\t") for line in lines if line.startswith("internvl2-2b\t"))
    assert fields[1:5] == ["student", "2.2B", "OpenGVLab/InternVL2-2B", "vllm"]
    assert fields[-1] == "yes"


def test_a_table_on_a_terminal():
    output = io.StringIO()
    models.show_all(models.listed("teacher"), Console(file=output, force_terminal=True, width=200))
    text = re.sub(r"\x1b\[[\d;]*m", "", output.getvalue())
    assert re.search(r"qwen2vl-7b +│ teacher +│ 8\.3B │ Qwen/Qwen2-VL-7B-Instruct", text)
    assert "qwen2vl-2b" not in text


def test_json_for_programs():
    found = {fields["name"]: fields for fields in json.loads(ask("--role", "student", "--json"))}
    assert set(found) == {name for name, preset in PRESETS.items() if "student" in preset.roles}
    qwen = found["qwen2vl-2b"]
    assert qwen["hyperparameters"]["learning_rate"] == 1e-5
    assert (
        qwen["training_bytes"] == PRESETS["qwen2vl-2b"].training_bytes() > 16 * qwen["parameters"]
    )


def test_one_in_full():
    text = ask("internvl2-4b")
    preset = PRESETS["internvl2-4b"]
    for said in (
        preset.revision,
        "InternVLChatModel",
        "4,146,855,936",
        "batch_size 6",
        "paper, Table 11",
        "MIT",
        preset.note,
    ):
        assert said in text
    assert f"{preset.serving_bytes / GIB:.1f} GiB to serve" in text
    assert "MPA_STUDENT_TRUST_REMOTE_CODE=1" in text


def test_an_unknown_name_is_one_line():
    result = CliRunner().invoke(app, ["models", "qwen3vl2b"])
    assert result.exit_code == 1
    assert "did you mean qwen3vl-2b?" in result.output
    assert CliRunner().invoke(app, ["models", "qwen2vl-7b", "--role", "student"]).exit_code == 1


SETTINGS: dict[str, type[StudentSettings] | type[TeacherSettings]] = {
    "student": StudentSettings,
    "teacher": TeacherSettings,
}


@pytest.mark.parametrize("name", PRESETS)
def test_the_commands_are_settings_that_the_service_takes(name):
    for command in models.commands(PRESETS[name]):
        *conversion, start = command.split(" && ")
        assert conversion in ([], [f"mpa-orch models convert {name} FOLDER"])
        assignments, _, role = start.rpartition("mpa-orch serve ")
        variables = dict(assignment.split("=") for assignment in assignments.split())
        settings = SETTINGS[role].from_env(variables)
        assert settings.model == (
            variables.get(f"MPA_{role.upper()}_MODEL") or PRESETS[name].model or settings.model
        )


def test_the_list_loads_nothing_heavy():
    heavy = ("torch", "transformers", "bentoml", "grpc", "PIL")
    code = f"""
import sys
from typer.testing import CliRunner
from services.orchestrator.cli.main import app
for arguments in (["models"], ["models", "--json"], ["models", "qwen2vl-2b"]):
    assert CliRunner().invoke(app, arguments).exit_code == 0
assert not set({heavy}) & set(sys.modules), set({heavy}) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_document_has_the_table():
    for preset in PRESETS.values():
        cells = [
            cell
            for column, cell in zip(models.COLUMNS, models.row(preset), strict=True)
            if column != "role"
        ]
        assert f"| `{cells[0]}` | {' | '.join(cells[1:])} |" in DOCUMENT


def test_the_presets_of_the_document_exist():
    assert set(re.findall(r"MPA_(?:STUDENT|TEACHER)_PRESET=([\w.-]+)", DOCUMENT)) <= set(PRESETS)


def test_the_settings_of_the_document_are_read_somewhere():
    sources = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    named = set(re.findall(r"MPA_(?:STUDENT|TEACHER)_(\w+)=", DOCUMENT))
    assert {"DEVICES", "TENSOR_PARALLEL", "MAX_MODEL_LEN", "TRAINING_DEVICES"} <= named
    assert {name for name in named if f'"{name}"' not in sources} == set()


def test_the_options_of_the_document_exist():
    for command in re.findall(r"mpa-orch (align|serve) [^\n`]*?(--[\w-]+)", DOCUMENT):
        assert (
            command[1] in CliRunner().invoke(app, [command[0], "--help"], terminal_width=200).output
        )
