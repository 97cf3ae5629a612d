"""`mpa-orch`: arguments in, exit code out (exits.py).

Commands import the modules that do their work when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import typer

from services.orchestrator.cli import (
    align,
    audit,
    cache,
    datasets,
    experiment,
    models,
    options,
    quote,
    results,
    runs,
    services,
    steps,
    versions,
)

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
for part in (align, quote, steps, results, services, experiment):
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
    help="List, show, compare, export and delete runs.",
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
    help="List, show, delete and prune the versions on a student's disk.",
    rich_help_panel=services.PANEL,
)
app.add_typer(
    cache.app,
    name="cache",
    help="Show or prune the cache of teachers' replies, which all runs share.",
    rich_help_panel=options.EXPERIMENTS,
)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
