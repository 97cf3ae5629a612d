"""`mpa-orch`: arguments in, exit code out (0 done, 1 an error to act on, 2 usage, 3 nothing to align, 130 interrupted)."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from services.core.answers import MATCHERS
from services.core.errors import Cancelled, MpaError, NothingToAlign, Overloaded, Unavailable
from services.core.presets import PRESETS
from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.orchestrator import commands, report
from services.orchestrator.endpoints import Where
from services.orchestrator.local import bento_command, service_environment
from services.orchestrator.progress import Progress
from services.orchestrator.run import RUNS, Run, default_folder, open_run, settings_of
from services.orchestrator.settings import Settings, new_settings
from services.orchestrator.summary import Summary

T = TypeVar("T")


class Role(StrEnum):
    TEACHER = "teacher"
    STUDENT = "student"


app = typer.Typer(
    help="Aligns a small vision-language model (the student) with a large one (the teacher), from unlabeled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Images = Annotated[str, typer.Argument(help="A folder of images (searched through), a glob, or one image.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
RunOption = Annotated[Path | None, typer.Option("--run", metavar="DIR", help="Run folder; one that exists is resumed.")]
Task = Annotated[str, typer.Option(help=", ".join(TASKS))]
Teacher = Annotated[str, typer.Option(envvar="MPA_TEACHER", metavar="HOST:PORT", help="The teacher service.")]
Student = Annotated[str, typer.Option(envvar="MPA_STUDENT", metavar="HOST:PORT", help="The student service.")]
Local = Annotated[bool, typer.Option("--local", help="Start the bundled pair here, and stop it at the end.")]
RecipeName = Annotated[
    str,
    typer.Option("--recipe", help=f"{', '.join(RECIPES)}. Default: rehearsal with --local, else paper; the run's own."),
]
Matcher = Annotated[str, typer.Option(help=f"{', '.join(MATCHERS)}. Default: the recipe's, else the task's.")]
Limit = Annotated[int, typer.Option(min=0, help="Take the first N images only; 0 takes all.")]
Labelled = Annotated[
    Path | None,
    typer.Option(
        "--eval",
        metavar="JSONL",
        help='Measures on labels, and decides nothing: a line is {"image", "question", "answers", optional "kind"}.',
    ),
]
FullMatrix = Annotated[bool, typer.Option("--full-matrix", help="Ask the teacher where the student was right, too.")]
Seed = Annotated[int, typer.Option(min=0, help="Of annotation sampling and training.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before training and promotion.")]
Patience = Annotated[
    float, typer.Option(envvar="MPA_ORCH_PATIENCE_S", min=0.0, help="Seconds to wait for a service that is away.")
]
PATIENCE_S = 60.0


@app.command()
def align(
    images: Images,
    task: Task,
    teacher: Teacher = "",
    student: Student = "",
    local: Local = False,
    run: RunOption = None,
    recipe: RecipeName = "",
    limit: Limit = 0,
    labelled: Labelled = None,
    matcher: Matcher = "",
    full_matrix: FullMatrix = False,
    seed: Seed = 0,
    yes: Yes = False,
    patience: Patience = PATIENCE_S,
) -> None:
    """All of it: annotate, identify, level, evaluate, promote. Repeat the same command to resume."""
    where = _where(teacher, student, local, patience, needs="both")
    folder = run or default_folder(task)
    with _exit_codes(_again(folder if run is None else None)):
        settings = _settings(images, task, recipe, matcher, limit, full_matrix, seed, local, folder)
        with open_run(folder, settings) as opened:
            _work(opened, lambda progress: commands.align(opened, where, labelled, _confirm(yes, progress), progress))


@app.command()
def annotate(
    images: Images,
    task: Task,
    teacher: Teacher = "",
    local: Local = False,
    run: RunOption = None,
    recipe: RecipeName = "",
    limit: Limit = 0,
    matcher: Matcher = "",
    full_matrix: FullMatrix = False,
    seed: Seed = 0,
    patience: Patience = PATIENCE_S,
) -> None:
    """Step 1 of a run, which it begins: the teacher writes questions and answers about the images."""
    where = _where(teacher, "", local, patience, needs="teacher")
    folder = run or default_folder(task)
    with _exit_codes(_again(folder if run is None else None)):
        settings = _settings(images, task, recipe, matcher, limit, full_matrix, seed, local, folder)
        with open_run(folder, settings) as opened:
            _work(opened, lambda progress: commands.annotate(opened, where, progress))


@app.command()
def identify(
    run: RunFolder, teacher: Teacher = "", student: Student = "", local: Local = False, patience: Patience = PATIENCE_S
) -> None:
    """Step 2: both models answer blind; where they part is the parity gap."""
    where = _where(teacher, student, local, patience, needs="both")
    with _exit_codes(_again()), open_run(run) as opened:
        _work(opened, lambda progress: commands.identify(opened, where, progress))


@app.command()
def level(
    run: RunFolder, student: Student = "", local: Local = False, yes: Yes = False, patience: Patience = PATIENCE_S
) -> None:
    """Step 3: the student trains on the parity set. Ctrl-C leaves a remote training going; the same command follows it."""
    where = _where("", student, local, patience, needs="student")
    with _exit_codes(_again()), open_run(run) as opened:
        _work(opened, lambda progress: commands.level(opened, where, _confirm(yes, progress), progress))


@app.command()
def evaluate(
    run: RunFolder,
    teacher: Teacher = "",
    student: Student = "",
    local: Local = False,
    labelled: Labelled = None,
    patience: Patience = PATIENCE_S,
) -> None:
    """Step 4: candidate against live on held-out records, and on a labelled set where one is given."""
    where = _where(teacher, student, local, patience, needs="both" if labelled else "student")
    with _exit_codes(_again()), open_run(run) as opened:
        _work(opened, lambda progress: commands.evaluate(opened, where, labelled, progress))


@app.command()
def promote(
    run: RunFolder,
    student: Student = "",
    local: Local = False,
    force: Annotated[bool, typer.Option("--force", help="Whatever the evaluation says.")] = False,
    yes: Yes = False,
    patience: Patience = PATIENCE_S,
) -> None:
    """Step 5: the candidate goes live under traffic, if it is better."""
    where = _where("", student, local, patience, needs="student")
    with _exit_codes(_again()), open_run(run) as opened:
        confirmed = yes or force
        _work(
            opened,
            lambda progress: commands.promote(opened, where, _confirm(confirmed, progress), progress, force=force),
        )


@app.command()
def status(run: Annotated[Path | None, typer.Argument(metavar="RUN")] = None) -> None:
    """What a run has done so far; without RUN, all runs below runs/."""
    with _exit_codes():
        for folder in [run] if run else commands.all_runs():
            summary = commands.status(folder)
            if run:
                _show(summary)
            else:
                done = f"{summary.image_files.accepted} images, parity set {summary.parity_set}"
                typer.echo(f"{folder}  {summary.outcome}  {summary.recipe}  {done}")
        if not run and not commands.all_runs():
            typer.echo(f"no runs in {RUNS}/: `mpa-orch align IMAGES --task vqa --local` begins one")


@app.command()
def rollback(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="With --local: the run whose student it is.")] = None,
    student: Student = "",
    local: Local = False,
    patience: Patience = PATIENCE_S,
) -> None:
    """The student's previous version becomes live again."""
    where = _where("", student, local, patience, needs="student")
    if local and run is None:
        raise typer.BadParameter("--local needs the RUN whose student is to go back")
    with _exit_codes():
        pointers = _gather(lambda progress: commands.rollback(run or Path(), where, progress))
        typer.echo(f"live {pointers.live}, previous {pointers.previous}")


@app.command()
def ask(
    image: Path,
    question: str,
    student: Student = "",
    local: Local = False,
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="With --local: that run's student.")] = None,
    version: Annotated[str, typer.Option(help="Default: the live one.")] = "",
    patience: Patience = PATIENCE_S,
) -> None:
    """The student answers one question about one image."""
    where = _where("", student, local, patience, needs="student")
    with _exit_codes():
        typer.echo(_gather(lambda progress: commands.ask(image, question, version, run, where, progress)))


@app.command()
def serve(
    role: Role,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP. Default: 3001 (teacher), 3000 (student).")] = 0,
    grpc_port: Annotated[int, typer.Option(help="Default: 50051 (teacher), 50052 (student).")] = 0,
) -> None:
    """Runs one service in the foreground: the bundled model, or the one that MPA_TEACHER_MODEL or MPA_STUDENT_MODEL names."""
    is_teacher = role is Role.TEACHER
    environment = service_environment(role, grpc_port or (50051 if is_teacher else 50052))
    environment[f"MPA_{role.upper()}_HOST"] = host
    command = bento_command(role, port or (3001 if is_teacher else 3000), host)
    os.execve(command[0], command, environment)


def _where(teacher: str, student: str, local: bool, patience_s: float, *, needs: str) -> Where:
    """Raises a usage error where a service has neither an address nor --local."""
    wanted = {"both": {"--teacher": teacher, "--student": student}}.get(needs) or (
        {"--teacher": teacher} if needs == "teacher" else {"--student": student}
    )
    if not local and not all(wanted.values()):
        options = " and ".join(f"{option} HOST:PORT" for option in wanted)
        raise typer.BadParameter(f"say where the services are: {options}, or --local to start the bundled pair here")
    return Where(teacher, student, local, patience_s)


def _settings(
    images: str,
    task: str,
    recipe: str,
    matcher: str,
    limit: int,
    full_matrix: bool,
    seed: int,
    local: bool,
    folder: Path,
) -> Settings:
    """Unless it is named, the recipe is the run's own; a new run's is that of its student's preset."""
    stored = settings_of(folder)
    usual = PRESETS["bundled"].recipe if local else "paper"
    chosen = recipe or (stored.recipe.name if stored else usual)
    return new_settings(images, task, chosen, matcher, limit, full_matrix, seed)


def _work(run: Run, steps: Callable[[Progress], Coroutine[None, None, Summary]]) -> None:
    _show(_gather(steps))
    typer.echo(f"run          {run.folder}")


def _gather(steps: Callable[[Progress], Coroutine[None, None, T]]) -> T:
    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with Progress(Console(stderr=True)) as progress:
            return await steps(progress)

    return asyncio.run(main())


def _show(summary: Summary) -> None:
    report.show(summary, Console())


def _confirm(assume_yes: bool, progress: Progress) -> Callable[[str], bool]:
    def confirm(question: str) -> bool:
        if assume_yes or not sys.stdin.isatty():
            return True
        with progress.paused():
            return typer.confirm(question, default=True, err=True)

    return confirm


def _again(new_folder: Path | None = None) -> str:
    """This very command, with the run folder that it was given by default."""
    command = ["mpa-orch", *sys.argv[1:]]
    return shlex.join(command + (["--run", str(new_folder)] if new_folder else []))


@contextmanager
def _exit_codes(again: str = "") -> Iterator[None]:
    """A user's mistake is one line, never a traceback; anything that is no MpaError is a bug and shows one."""
    try:
        yield
    except NothingToAlign as error:
        typer.echo(f"nothing to align: {error}", err=True)
        raise typer.Exit(3) from None
    except MpaError as error:
        typer.echo(f"error: {error}", err=True)
        if again and isinstance(error, (Unavailable, Overloaded, Cancelled)):
            typer.echo(f"resume with: {again}", err=True)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("interrupted; repeat the same command to resume" + (f": {again}" if again else ""), err=True)
        raise typer.Exit(130) from None


def main() -> None:
    app()


if __name__ == "__main__":
    main()
