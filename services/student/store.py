"""The student's versions on disk: immutable folders with a manifest, and the pointers that say which is live.

STORE/versions/v1/{manifest.json, config.json, model.safetensors, ...}
STORE/versions/.last       the newest version there ever was, so that no name is given twice
STORE/pointers.json        see pointers.py
STORE/datasets/, STORE/jobs/   see datasets.py and jobs.py
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, MpaError, NotFound
from services.engines import checkpoint
from services.files import sweep, sync_folder, write_atomically
from services.student.intact import CORRUPT, Watch, glance, require_same
from services.student.pointers import PointerFile, Pointers
from services.student.records import damaged, read_record

MANIFEST = "manifest.json"
ADAPTER = "adapter"
CONTRACT_BROKEN = "CONTRACT_BROKEN"
"""Reason for a version that would be asked otherwise than it was trained."""
_LAST = ".last"
_NAME = re.compile(r"v[1-9][0-9]{0,17}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from. The first version has no parent."""

    parent: str = ""
    run: str = ""
    recipe: str = ""
    dataset: str = ""
    job: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Written once, beside the weights; never changed."""

    name: str
    created_at: str
    weights_sha256: str
    contract: Contract
    origin: Origin
    adapter_of: str = ""
    """The version that the adapter in adapter/ goes with; "" where there is none. The weights beside it are merged."""

    rest_sha256: str = ""
    """Hash over configuration, code and adapter; "" in versions of earlier releases."""

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Raises InvalidInput: the file is damaged."""
        way_out = f"restore it, or move {folder} away; other versions are not concerned"
        manifest = read_record(Manifest, folder / MANIFEST, way_out, CORRUPT)
        try:
            datetime.fromisoformat(manifest.created_at)
        except ValueError as error:
            raise damaged(folder / MANIFEST, f"created_at: {error}", way_out, CORRUPT) from error
        return manifest

    def verify(self, folder: Path) -> None:
        """Reads all files. Raises InvalidInput: one has changed, or the contract can't be kept here."""
        checkpoint.check(folder)
        try:
            found = self._found(folder)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"version {self.name} is damaged: a file in {folder} can't be read ({error}); it will not be loaded",
                reason=CORRUPT,
            ) from error
        for what, actual, expected, reason in found:
            if actual != expected:
                raise InvalidInput(
                    f"version {self.name} is damaged: its {what} has sha256 {actual[:12]}..., its manifest says "
                    f"{expected[:12]}...; it will not be loaded",
                    reason=reason,
                )
        try:
            self.contract.require_servable()
        except InvalidInput as error:
            raise InvalidInput(
                f"the contract of version {self.name} can't be kept here ({error}): serve it with the release that trained it",
                field=error.field,
                reason=CONTRACT_BROKEN,
            ) from error

    def _found(self, folder: Path) -> list[tuple[str, str, str, str]]:
        """Each part, its hash, the one that it should have, and the reason if they differ."""
        template, processor = self.contract.chat_template_sha256, self.contract.processor_sha256
        rest = checkpoint.rest_sha256(folder) if self.rest_sha256 else ""
        return [
            ("weights", checkpoint.weights_sha256(folder), self.weights_sha256, CORRUPT),
            ("chat template", checkpoint.chat_template_sha256(folder), template, CONTRACT_BROKEN),
            ("processor", checkpoint.processor_sha256(folder), processor, CONTRACT_BROKEN),
            ("configuration", rest, self.rest_sha256, CORRUPT),
        ]


class VersionStore:
    """One writer: the student service that owns the folder. Raises Conflict: the folder has an owner already."""

    def __init__(self, root: Path) -> None:
        self._versions = root / "versions"
        self._pointers = PointerFile(root)
        self._watch = Watch(self.path, self._verify)
        self._versions.mkdir(parents=True, exist_ok=True)
        self._lock = (root / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another student service uses the store {root}: stop it, or name another store"
            ) from error
        for leftover in [*self._versions.glob(".incoming-*"), *sweep(root)]:
            _log.info("%s was left half-written, and is removed", leftover)
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """Lets another service own the folder."""
        self._lock.close()

    def names(self) -> list[str]:
        """Oldest first, damaged ones included."""
        found = [path.name for path in self._versions.iterdir() if _NAME.fullmatch(path.name)]
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
        """Raises NotFound, InvalidInput: it is damaged."""
        manifest = Manifest.read(self.path(name))
        if manifest.name != name:
            why = f"says that it is {manifest.name[:20]}"
            raise damaged(
                self.path(name) / MANIFEST, why, "move away what was copied by hand", CORRUPT
            )
        return manifest

    def fault(self, name: str) -> str:
        """Fault of a version on disk; "" where none is known. See Watch.fault. Raises NotFound."""
        try:
            self.manifest(name)
            return self._watch.fault(name)
        except InvalidInput as error:
            return str(error)

    def intact(self) -> list[str]:
        """Versions whose manifest can be read, the newest first. Their files may be damaged nonetheless."""
        return [name for name in reversed(self.names()) if not self.fault(name)]

    def made_by(self, job: str) -> str:
        """The version that a training job made; "" if it made none."""
        return next((name for name in self.intact() if self.manifest(name).origin.job == job), "")

    def add(
        self,
        checkpoint_folder: Path,
        origin: Origin,
        contract: Contract,
        image_processor: Mapping[str, object] | None = None,
    ) -> str:
        """Copies a checkpoint in as the next version and returns its name. Whole or not at all.

        `image_processor`: settings (a pixel budget) that replace the checkpoint's. The hashes and the pixel budget of
        `contract` are taken from the checkpoint itself. Raises InvalidInput: no checkpoint.
        """
        checkpoint.check(checkpoint_folder)
        name = self._next()
        incoming = self._versions / f".incoming-{name}"
        try:
            shutil.copytree(
                checkpoint_folder,
                incoming,
                ignore=shutil.ignore_patterns("*.md", "checkpoint-*", MANIFEST),
            )
            self._complete(incoming, name, origin, contract, image_processor or {})
            write_atomically(self._versions / _LAST, name)
            incoming.rename(self._versions / name)
            sync_folder(self._versions)
        except (OSError, shutil.Error) as error:
            raise MpaError(
                f"version {name} can't be stored ({error}): make room, then repeat",
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
        """Makes a copy of a checkpoint a version, and puts it on disk."""
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
        for file in incoming.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        write_atomically(incoming / MANIFEST, json.dumps(asdict(manifest), indent=2))

    def _next(self) -> str:
        """A name that no version has or had, damaged and removed ones included."""
        used = [*self.names(), *asdict(self.pointers()).values()]
        with suppress(OSError, UnicodeDecodeError):
            used.append((self._versions / _LAST).read_text())
        return f"v{max((_number(name) for name in used if _NAME.fullmatch(name)), default=0) + 1}"

    def verify(self, name: str) -> Path:
        """The folder of a version whose files match its manifest, and whose contract can be kept here.

        Raises NotFound, InvalidInput: damaged (VERSION_CORRUPT), or it would be asked otherwise than it was trained
        (CONTRACT_BROKEN).
        """
        self._watch.verify(name)
        return self.path(name)

    def require_unchanged(self, name: str) -> None:
        """Raises InvalidInput where a version's files have changed since they were verified: after they were loaded."""
        self._watch.require_unchanged(name)

    def _verify(self, name: str) -> None:
        self.manifest(name).verify(self.path(name))

    def pointers(self) -> Pointers:
        """The pointers; none where nothing is live yet, or where both copies are damaged."""
        return self._pointers.read()

    def point(self, pointers: Pointers) -> None:
        """Moves the pointers, durably, all at once."""
        self._pointers.write(pointers)


@contextmanager
def verified(folder: Path) -> Iterator[None]:
    """Guards the reading of a version in another process than the store's owner; a folder that is no version is not looked at.

    Raises InvalidInput: it is damaged, or was changed while it was read.
    """
    if not (folder / MANIFEST).is_file():
        yield
        return
    before = glance(folder)
    Manifest.read(folder).verify(folder)
    yield
    require_same(folder.name, before, glance(folder), "loaded")


def _number(name: str) -> int:
    return int(name[1:])
