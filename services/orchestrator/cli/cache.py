"""`mpa-orch cache`: show or prune the cache of teachers' replies."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from services.core.errors import InvalidInput
from services.orchestrator.cli import options as o
from services.orchestrator.cli.amounts import seconds, size_bytes
from services.orchestrator.cli.exits import exit_codes

app = typer.Typer(no_args_is_help=True)

OlderThan = Annotated[
    str,
    typer.Option(
        "--older-than",
        metavar="AGE",
        help="Remove replies unused for AGE, such as 30d or 12h.",
        callback=o.checked(seconds),
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="FINGERPRINT",
        help="Remove replies of models whose fingerprint begins with FINGERPRINT.",
    ),
]
MaxSize = Annotated[
    str,
    typer.Option(
        "--max-size",
        metavar="SIZE",
        help="Remove the longest unused replies until the cache fits into SIZE, such as 2GiB.",
        callback=o.checked(size_bytes),
    ),
]


@app.command()
def show(as_json: o.Json = False) -> None:
    """Show the replies in the cache by model.

    The environment variable MPA_CACHE names the cache's file.
    """
    from rich.console import Console

    from services.orchestrator.endpoints.cache import cache_file, looking_into
    from services.orchestrator.reports import cache as cache_report

    with exit_codes():
        path = cache_file()
        if not path.is_file():
            typer.echo(
                json.dumps({"path": str(path), "bytes": 0, "models": []})
                if as_json
                else f"no cache yet at {path}"
            )
            return
        with looking_into(path) as cache:
            models, size_bytes = list(cache.models()), cache.bytes
        if as_json:
            content = {
                "path": str(path),
                "bytes": size_bytes,
                "models": [asdict(model) for model in models],
            }
            typer.echo(json.dumps(content, indent=2))
        else:
            cache_report.show(path, size_bytes, models, Console())


@app.command()
def prune(older_than: OlderThan = "", model: Model = "", max_size: MaxSize = "") -> None:
    """Remove replies by age, model or size.

    A run that needs them again asks the teacher. --older-than and --model
    together remove only replies that meet both.
    """
    from services.orchestrator.endpoints.cache import cache_file, looking_into

    with exit_codes():
        if not (older_than or model or max_size):
            raise InvalidInput(
                "say which replies to remove: --older-than 30d, --model FP or --max-size 2GiB"
            )
        path = cache_file()
        if not path.is_file():
            typer.echo(f"no cache yet at {path}")
            return
        with looking_into(path) as cache:
            gone = cache.prune(
                older_than_s=seconds(older_than) if older_than else None,
                fingerprint=model,
                max_bytes=size_bytes(max_size) if max_size else None,
            )
            typer.echo(f"{gone:,} replies removed, {cache.bytes / 2**20:,.1f} MiB left in {path}")
