"""Exit codes of `mpa-orch`.

0 done, 1 an error to act on, 2 wrong usage, 3 nothing to align, 4 budget spent, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import errno
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from services.core.errors import (
    BudgetSpent,
    Cancelled,
    MpaError,
    NothingToAlign,
    Overloaded,
    Pending,
    Unavailable,
)


def again(new_folder: Path | None = None) -> str:
    """The command line to repeat, with the run folder if the command has just named one."""
    command = ["mpa-orch", *sys.argv[1:]]
    return shlex.join(command + (["--run", str(new_folder)] if new_folder else []))


@contextmanager
def exit_codes(resume_with: str = "") -> Iterator[None]:
    """An MpaError ends the command with one line; any other error is a bug: traceback."""
    try:
        yield
    except NothingToAlign as error:
        typer.echo(f"nothing to align: {error}", err=True)
        raise typer.Exit(3) from None
    except BudgetSpent as error:
        typer.echo(
            f"stopped: {error}" + (f"; this was: {resume_with}" if resume_with else ""), err=True
        )
        raise typer.Exit(4) from None
    except MpaError as error:
        typer.echo(f"error: {error}", err=True)
        if resume_with and isinstance(error, (Unavailable, Overloaded, Pending, Cancelled)):
            typer.echo(f"resume with: {resume_with}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise
        typer.echo(
            f"error: {error.filename or 'the disk'}: {error.strerror}: "
            "make room, then repeat the command",
            err=True,
        )
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo(
            "interrupted; repeat the same command to resume"
            + (f": {resume_with}" if resume_with else ""),
            err=True,
        )
        raise typer.Exit(130) from None
