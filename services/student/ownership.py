"""Lock of a store's only owner: the service that trains into it and moves its pointers.

STORE/.lock
"""

from __future__ import annotations

import errno
import fcntl
import logging
from pathlib import Path
from typing import TextIO

from services.core.errors import Conflict, WrongState

_log = logging.getLogger(__name__)


def lock_store(root: Path) -> TextIO:
    """Lock the store in `root` until the file is closed. Raises as `lock` does."""
    file = _open_lock(root / ".lock")
    lock(file.fileno(), root)
    return file


def lock(descriptor: int, root: Path) -> None:
    """Lock a file for the only owner of the store in `root`.

    Raises Conflict: another service has locked it; WrongState: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(
            f"another student service uses the store {root}: stop it, name another store, or "
            "follow it (MPA_STUDENT_FOLLOW=1)"
        ) from error
    except OSError as error:
        raise WrongState(
            f"the store {root} can't be locked for its owner ({error.strerror}): put it on a local "
            "disk, or mount NFS with locks (version 4, or 3 without `nolock`) and write access",
            reason="STORE_NOT_LOCKED",
        ) from error


def _open_lock(path: Path) -> TextIO:
    """The file that a store's owner locks: another one if the store can't be written."""
    try:
        return path.open("w")
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        _log.warning("%s can't be written: versions are served, nothing is trained", path.parent)
        return (path if path.is_file() else path.parent / "pointers.json").open()
