"""Runs that the real commands made, and the commands that show them."""

import json

from typer.testing import CliRunner

from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher


def said(*arguments, code=0, **options):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.replace("│", " ").split())


def told(*arguments):
    return json.loads(CliRunner().invoke(app, [*map(str, arguments), "--json"]).stdout)


def lines(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return [json.loads(line) for line in result.stdout.splitlines()]


async def make(folder, pool, student=None, rejects=lambda *_: "", **settings):
    """Annotated and identified; 240 annotations unless some are rejected."""
    async with bench(
        folder, pool, ScriptedTeacher(rejects=rejects), student or ScriptedStudent(), **settings
    ) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)
