"""`mpa-orch models`: the models known by name, and the conversion of published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes


class ListedByDefault(TyperGroup):
    """A group that lists the models if no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_command = args[:1] and args[0] in {*self.commands, "--help"}
        return super().parse_args(ctx, args if is_command else ["show", *args])


app = typer.Typer(cls=ListedByDefault, no_args_is_help=False)

ModelName = Annotated[
    str, typer.Argument(metavar="NAME", help="Model to show in full. Default: list all.")
]
RoleOption = Annotated[
    o.Role | None, typer.Option("--role", help="Only models that can take this role.")
]
Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="Published checkpoint: a folder, a hub id or a model."),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the converted one.")]


@app.command()
def show(name: ModelName = "", role: RoleOption = None, as_json: o.Json = False) -> None:
    """List the models known by name: memory, engines, and the command that serves them."""
    from rich.console import Console

    from services.core.presets import find_preset
    from services.orchestrator.reports import models

    with exit_codes():
        chosen = [find_preset(name, role or "")] if name else models.listed(role or "")
        if as_json:
            typer.echo(models.to_json(chosen))
        elif name:
            models.show(chosen[0], Console())
        else:
            models.show_all(chosen, Console())


@app.command()
def convert(source: Source, out: Out) -> None:
    """Convert a checkpoint in its publisher's layout into a class that can be trained.

    InternVL2 and TinyLLaVA have such layouts. Weights are read shard by shard; OUT is written
    whole or not at all. The publisher's Python code doesn't run.
    """
    from rich.console import Console

    from services.engines.conversion.conversion import convert as convert_checkpoint
    from services.orchestrator.run.progress import Progress

    with exit_codes(), Progress(Console(stderr=True)) as progress:
        with progress.stage("convert", "MB", None) as meter:

            def report(done: int, total: int) -> None:
                meter.total = total // 10**6
                meter.set_done(done // 10**6)

            architecture = convert_checkpoint(source, out, report)
        typer.echo(f"{out} holds a {architecture}: serve it by MPA_STUDENT_MODEL={out}")
