"""Extras of the package: libraries that an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from services.core.errors import InvalidInput


def install(extra: str) -> str:
    """The command that installs the extra: the package is on no index."""
    return f"in a clone of this project, run pip install -c constraints.txt '.[{extra}]'"


def is_installed(library: str) -> bool:
    return find_spec(library) is not None


def require(library: str, extra: str, purpose: str) -> None:
    """Raises InvalidInput with the name of the extra if the library is missing."""
    if not is_installed(library):
        raise InvalidInput(
            f"{purpose} needs {library}, which is not installed: {install(extra)}",
            reason="NOT_INSTALLED",
        )
