"""Files that are either whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from services.core.errors import MpaError


def write_atomically(path: Path, text: str) -> None:
    """Raises MpaError where there is no room or no permission; what was there before stays."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise MpaError(f"{path} can't be written ({error.strerror}): make room for it, then repeat the command") from error
