"""`mpa-orch`: arguments in, exit code out (exits.py).

Commands import the modules that do their work when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli import (
    align,
    audit,
    cache,
    datasets,
    experiment,
    explorer,
    keys,
    models,
    options,
    quote,
    results,
    runs,
    services,
    steps,
    verdict,
    versions,
)

CREDENTIALS = "Credentials for services (addresses with TLS begin with grpcs://)"
KeyFile = Annotated[
    str,
    typer.Option(
        "--key-file",
        envvar="MPA_KEY_FILE",
        metavar="FILE",
        help="File with the key that is shown to services, instead of MPA_KEY.",
        rich_help_panel=CREDENTIALS,
    ),
]
ServiceCa = Annotated[
    str,
    typer.Option(
        "--tls-ca",
        envvar="MPA_TLS_CA",
        metavar="FILE",
        help="Authority that signs the services' certificates. Default: the system's.",
        rich_help_panel=CREDENTIALS,
    ),
]
ClientCert = Annotated[
    str,
    typer.Option(
        "--tls-cert",
        envvar="MPA_TLS_CERT",
        metavar="FILE",
        help="Client certificate.",
        rich_help_panel=CREDENTIALS,
    ),
]
ClientKey = Annotated[
    str,
    typer.Option(
        "--tls-key",
        envvar="MPA_TLS_KEY",
        metavar="FILE",
        help="Private key of the client certificate.",
        rich_help_panel=CREDENTIALS,
    ),
]

app = typer.Typer(
    help="""Align a small vision-language model (the student) with a large one (the
    teacher), from unlabeled images.

    First try, with the bundled models on this machine:

    mpa-orch align IMAGES --task vqa --local

    With models of your choice, start a service for each (`mpa-orch models` lists
    the commands), then:

    mpa-orch align IMAGES --task vqa --teacher HOST:PORT --student HOST:PORT""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (align, quote, steps, results, verdict, explorer, services, experiment):
    app.add_typer(part.app)
app.add_typer(
    models.app,
    name="models",
    help="List the models known by name, and convert published checkpoints.",
    rich_help_panel=services.PANEL,
)
app.add_typer(
    runs.app,
    name="runs",
    help="List, show, compare, export and delete runs; read corrections.",
    rich_help_panel=results.PANEL,
)
app.add_typer(
    audit.app,
    name="audit",
    help="Let people judge a run's annotations and its student's errors.",
    rich_help_panel=results.PANEL,
)
app.add_typer(
    datasets.app,
    name="datasets",
    help="Check labelled data sets, and score models on them.",
    rich_help_panel=options.EXPERIMENTS,
)
app.add_typer(
    versions.app,
    name="versions",
    help="List, show, export, delete and prune the versions on a student's disk.",
    rich_help_panel=services.PANEL,
)
app.add_typer(
    keys.app,
    name="keys",
    help="Add, list and revoke keys of a service's callers.",
    rich_help_panel=services.PANEL,
)
app.add_typer(
    cache.app,
    name="cache",
    help="Show or prune the cache of teachers' replies, which all runs share.",
    rich_help_panel=options.EXPERIMENTS,
)


@app.callback()
def show_credentials(
    key_file: KeyFile = "", ca: ServiceCa = "", certificate: ClientCert = "", key: ClientKey = ""
) -> None:
    """Keep the caller's credentials in the environment, where clients find them."""
    given = {
        "MPA_KEY_FILE": key_file,
        "MPA_TLS_CA": ca,
        "MPA_TLS_CERT": certificate,
        "MPA_TLS_KEY": key,
    }
    for variable, path in given.items():
        if path:
            os.environ[variable] = str(Path(path).absolute())


def main() -> None:
    app()


if __name__ == "__main__":
    main()
