"""Versions of the student on disk: immutable folders with a manifest, and pointers to some of them.

STORE/versions/v1/{manifest.json, config.json, model.safetensors, ...}
STORE/versions/.leaving-v1 a version on its way out
STORE/versions/.last       the newest version that ever existed, so that no name is used twice
STORE/pointers.json        see pointers.py
STORE/datasets/            see datasets.py
STORE/jobs/                see job.py
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from services.core.contract import Contract
from services.core.errors import InvalidInput, MpaError, NotFound, WrongState
from services.engines import checkpoint
from services.files import sweep, sync_files, sync_folder, write_atomically
from services.student.intact import CORRUPT, Watch, glance, require_same
from services.student.manifest import ADAPTER, MANIFEST, Manifest, Origin
from services.student.ownership import lock_store
from services.student.pointers import PointerFile, Pointers
from services.student.records import damaged

_LAST = ".last"
_NAME = re.compile(r"v[1-9][0-9]{0,17}")
_log = logging.getLogger(__name__)


class VersionStore:
    """Folder of one student service, its only writer, and of any number of followers.

    A follower (`is_owner` False) only reads. Raises Conflict: another service owns it.
    """

    def __init__(self, root: Path, *, is_owner: bool = True) -> None:
        self.root = root
        self._versions = root / "versions"
        self._pointers = PointerFile(root)
        self._watch = Watch(self.path, self._verify)
        self._lock: TextIO | None = None
        if is_owner:
            self._own(root)

    def _own(self, root: Path) -> None:
        self._versions.mkdir(parents=True, exist_ok=True)
        self._lock = lock_store(root)
        unfinished = [*self._versions.glob(".incoming-*"), *self._versions.glob(".leaving-*")]
        for leftover in [*unfinished, *sweep(root)]:
            _log.info("removing %s, which was left unfinished", leftover)
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """Release the folder to other services."""
        if self._lock is not None:
            self._lock.close()

    def require_owned(self) -> None:
        """Raises WrongState: this service only follows the store."""
        if self._lock is None:
            raise WrongState(
                f"this service follows the store {self.root}: only its owner changes it",
                reason="FOLLOWER",
            )

    def names(self) -> list[str]:
        """Names of all versions, the oldest first, damaged ones included."""
        found = [path.name for path in self._versions.glob("v*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_number)

    def path(self, name: str) -> Path:
        """Raises NotFound."""
        if not _NAME.fullmatch(name) or not os.path.lexists(self._versions / name):
            raise NotFound(
                f"there is no version {name!r}: there are {', '.join(self.names()) or 'none'}",
                reason="VERSION_NOT_FOUND",
            )
        return self._versions / name

    def manifest(self, name: str) -> Manifest:
        """Raises NotFound; InvalidInput: the manifest is damaged."""
        manifest = Manifest.read(self.path(name))
        if manifest.name != name:
            why = f"its name is {manifest.name[:20]}"
            raise damaged(
                self.path(name) / MANIFEST, why, "move the folder away, it is a copy", CORRUPT
            )
        return manifest

    def fault(self, name: str) -> str:
        """Fault of a version on disk; "" if none is known (Watch.fault). Raises NotFound."""
        try:
            self.manifest(name)
            return self._watch.fault(name)
        except InvalidInput as error:
            return str(error)

    def intact(self) -> list[str]:
        """Versions without a known fault, the newest first. Their files may still be damaged."""
        return [name for name in reversed(self.names()) if not self.fault(name)]

    def servable(self) -> list[str]:
        """Intact versions that may go live, the newest first."""
        return [name for name in self.intact() if not self.manifest(name).origin.is_trial]

    def require_servable(self, name: str) -> None:
        """Raises NotFound; WrongState: the version is a trial."""
        if self.manifest(name).origin.is_trial:
            raise WrongState(
                f"version {name} is a trial of an experiment, without canaries, so it never goes "
                "live: train it again with `mpa-orch align`",
                reason="TRIAL_VERSION",
            )

    def made_by(self, job: str) -> str:
        """Name of the version that a training job made; "" if it made none."""
        return next((name for name in self.intact() if self.manifest(name).origin.job == job), "")

    def add(
        self,
        checkpoint_folder: Path,
        origin: Origin,
        contract: Contract,
        image_processor: Mapping[str, object] | None = None,
        *,
        is_ours: bool = False,
    ) -> str:
        """Copy a checkpoint as the next version, whole or not at all, and return its name.

        `image_processor`: settings (a pixel budget) that replace the checkpoint's. `is_ours`:
        nobody else writes to the checkpoint's files; they are linked instead of copied, if the disk
        can, and the caller removes the folder before the version is used. Hashes and pixel budget
        of `contract` are taken from the checkpoint. Raises InvalidInput: no checkpoint.
        """
        self.require_owned()
        checkpoint.check(checkpoint_folder)
        name = self._next()
        incoming = self._versions / f".incoming-{name}"
        try:
            shutil.copytree(
                checkpoint_folder,
                incoming,
                ignore=shutil.ignore_patterns("*.md", "checkpoint-*", MANIFEST),
                copy_function=_link if is_ours else shutil.copy2,
            )
            self._complete(incoming, name, origin, contract, image_processor or {})
            write_atomically(self._versions / _LAST, name)
            incoming.rename(self._versions / name)
            sync_folder(self._versions)
        except (OSError, shutil.Error) as error:
            raise MpaError(
                f"version {name} can't be stored ({error}): free disk space, then repeat",
                reason="STORAGE_FAILED",
            ) from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return name

    def _complete(
        self,
        incoming: Path,
        name: str,
        origin: Origin,
        contract: Contract,
        image_processor: Mapping[str, object],
    ) -> None:
        """Turn a copy of a checkpoint into a version, and sync it to disk."""
        checkpoint.set_image_processor(incoming, image_processor)
        manifest = Manifest(
            name=name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            weights_sha256=checkpoint.weights_sha256(incoming),
            contract=replace(
                contract,
                chat_template_sha256=checkpoint.chat_template_sha256(incoming),
                processor_sha256=checkpoint.processor_sha256(incoming),
                pixel_budget=checkpoint.pixel_budget(incoming),
            ),
            origin=origin,
            adapter_of=origin.parent if (incoming / ADAPTER).is_dir() else "",
            rest_sha256=checkpoint.rest_sha256(incoming),
        )
        sync_files(incoming)
        write_atomically(incoming / MANIFEST, json.dumps(asdict(manifest), indent=2))

    def _next(self) -> str:
        """A name that no version has or ever had, damaged and removed ones included."""
        used = [*self.names(), *asdict(self.pointers()).values()]
        with suppress(OSError, UnicodeDecodeError):
            used.append((self._versions / _LAST).read_text())
        return f"v{max((_number(name) for name in used if _NAME.fullmatch(name)), default=0) + 1}"

    def size_bytes(self, name: str) -> int:
        """Size of a version's files. Raises NotFound."""
        found = 0
        for file in self.path(name).rglob("*"):
            with suppress(FileNotFoundError):  # it is being deleted
                found += file.lstat().st_size if not file.is_dir() else 0
        return found

    def adapters_of(self, name: str) -> list[str]:
        """Versions that are adapters of this one, as far as their manifests can be read."""
        found = []
        for other in self.names():
            with suppress(InvalidInput):
                if self.manifest(other).adapter_of == name:
                    found.append(other)
        return found

    def remove(self, name: str) -> None:
        """Remove a version for good. Its name is never used again.

        It is renamed first, so a kill leaves no part of a version. Raises NotFound; MpaError: the
        disk refuses, and the version is unchanged.
        """
        folder = self.path(name)
        leaving = self._versions / f".leaving-{name}"
        newest = f"v{_number(self._next()) - 1}"
        write_atomically(self._versions / _LAST, newest)
        try:
            folder.rename(leaving)
            sync_folder(self._versions)
        except OSError as error:
            raise MpaError(
                f"version {name} can't be removed ({error.strerror}): grant access to {folder}, "
                "then repeat",
                reason="STORAGE_FAILED",
            ) from error
        shutil.rmtree(leaving, ignore_errors=True)

    def verify(self, name: str) -> Path:
        """Check a version's files against its manifest, and return its folder.

        Raises NotFound; InvalidInput: it is damaged (VERSION_CORRUPT), or would be asked
        differently than it was trained (CONTRACT_BROKEN).
        """
        self._watch.verify(name)
        return self.path(name)

    def require_unchanged(self, name: str) -> None:
        """Raises InvalidInput: a version's files have changed since they were verified."""
        self._watch.require_unchanged(name)

    def _verify(self, name: str) -> None:
        self.manifest(name).verify(self.path(name))

    def pointers(self) -> Pointers:
        """The pointers; none if nothing is live yet, or if both files are damaged."""
        return self._pointers.read()

    def point(self, pointers: Pointers) -> None:
        """Move the pointers durably and atomically."""
        self.require_owned()
        self._pointers.write(pointers)


@contextmanager
def verified(folder: Path) -> Iterator[None]:
    """Verify a version before and after another process than the store's owner reads it.

    A folder that is no version is not checked.
    Raises InvalidInput: the version is damaged, or was changed while it was read.
    """
    if not (folder / MANIFEST).is_file():
        yield
        return
    before = glance(folder)
    Manifest.read(folder).verify(folder)
    yield
    require_same(folder.name, before, glance(folder), "loaded")


def _link(source: str, target: str) -> None:
    """Make `target` another name of `source`, or a copy where the file system can't."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _number(name: str) -> int:
    return int(name[1:])
