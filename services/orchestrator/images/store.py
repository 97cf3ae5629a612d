"""Where files are kept: a folder of any file system that fsspec knows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
from fsspec.compression import compr
from fsspec.registry import known_implementations

from services.core import extras
from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.engines.images import MAX_BYTES
from services.orchestrator.images.patience import ABSENT, DAMAGE, PATIENCE_S, Patience, PatientFile

T = TypeVar("T")

NEAR = frozenset({"file", "local", "memory", "zip", "tar"})
"""Protocols whose failures are final; an archive is as far as the store that holds it."""
EXTRAS = {"s3": "s3", "s3a": "s3"}
BLOCK_BYTES = 8 * 2**20
SMALL_BLOCK_BYTES = 256 * 1024
"""Bytes of one read of a far file: BLOCK_BYTES from start to end, SMALL_BLOCK_BYTES elsewhere."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder: `root` in the file system `fs`; `url` is the same for people.

    Names are relative to it, absolute, or URLs. `patience` applies to far files: all names of a
    store that `is_far`, and URLs in one that isn't.
    """

    fs: Any
    root: str
    url: str
    is_far: bool
    patience: Patience = field(default_factory=Patience)

    @property
    def is_local(self) -> bool:
        """Are its files on this machine?"""
        return is_local(self.fs)

    def open(
        self, name: str, *, block_bytes: int = BLOCK_BYTES, compression: str | None = None
    ) -> IO[bytes]:
        """Open a file to read and seek in.

        Raises NotFound, Unavailable; InvalidInput if a file of this machine can't be read.
        """
        fs, path = self._locate(name)
        if not self._is_far(name):
            with _explained(name):
                here: IO[bytes] = fs.open(path, "rb", compression=compression)
                return here
        file = self._patiently(lambda: fs.open(path, "rb", block_size=block_bytes), name)
        patient = io.BufferedReader(
            PatientFile(self.patience, file, self.at(name)), SMALL_BLOCK_BYTES
        )
        return compr[compression](patient, mode="r") if compression else patient

    def read(self, name: str) -> bytes:
        """A whole image file.

        Raises InvalidImage if it is missing, unreadable or too large, Unavailable.
        """
        fs, path = self._locate(name)
        if is_local(fs):
            return _read_local(Path(path), name)

        def read() -> bytes:
            if (fs.size(path) or 0) > MAX_BYTES:
                raise too_large(name)
            return bytes(fs.cat_file(path))

        try:
            return self._patiently(read, name)
        except (NotFound, *DAMAGE, OSError, RuntimeError, ValueError) as error:
            raise InvalidImage(f"{name} can't be read: {error}") from error

    def folder(self, name: str = "") -> list[tuple[str, bool]]:
        """The names in a folder, each with whether it is a folder itself.

        Raises NotFound, Unavailable, InvalidInput.
        """
        if self.is_local:
            with _explained(name), os.scandir(Path(self.root, name)) as entries:
                return [
                    (entry.name, entry.is_dir())
                    for entry in entries
                    if not (entry.is_symlink() and entry.is_dir())
                ]
        path = f"{self.root}/{name}".rstrip("/")
        with _explained(name):
            listed = self._patiently(lambda: self.fs.ls(path, detail=True), name)
        paths = ((entry["name"].rstrip("/"), entry["type"] == "directory") for entry in listed)
        return [
            (found.rpartition("/")[2], is_folder)
            for found, is_folder in paths
            if found.strip("/") != path.strip("/")
        ]

    def has(self, name: str) -> bool:
        """Is there a file with this name?"""
        return self._type(name) == "file"

    def is_folder(self, name: str = "") -> bool:
        return self._type(name) == "directory"

    def _type(self, name: str) -> str:
        """Kind of an entry; "" if there is none.

        `exists` and `isdir` of fsspec also return False for an unreachable file.
        """
        path = f"{self.root}/{name}".rstrip("/")
        try:
            with _explained(name):
                return str(self._patiently(lambda: self.fs.info(path), name)["type"])
        except NotFound:
            return ""

    def glob(self, pattern: str) -> list[str]:
        """Files that match, sorted."""
        with _explained(pattern):
            found = self._patiently(
                lambda: self.fs.glob(f"{self.root}/{pattern}", detail=True), pattern
            )
        start = len(self.fs._strip_protocol(self.root).strip("/"))
        files = (path.strip("/") for path, entry in found.items() if entry["type"] != "directory")
        return sorted(path[start:].lstrip("/") for path in files)

    def at(self, name: str) -> str:
        """The whole path or URL of a name, for people."""
        return name if is_url(name) else f"{self.url.rstrip('/')}/{name}".rstrip("/")

    def _patiently(self, action: Callable[[], T], name: str) -> T:
        return self.patience.with_(action, self.at(name)) if self._is_far(name) else action()

    def _is_far(self, name: str) -> bool:
        return is_far(name) if is_url(name) else self.is_far and not name.startswith("/")

    def _locate(self, name: str) -> tuple[Any, str]:
        if is_url(name):
            return url_to_fs(name)
        if name.startswith("/"):
            return (self.fs if self.is_local else fsspec.filesystem("file")), name
        return self.fs, f"{self.root}/{name}" if self.root else name


def settled(images: str) -> str:
    """The path or URL with absolute paths, independent of the working directory."""
    if not is_url(images):
        return str(Path(images).expanduser().absolute())
    parts = [part.removeprefix("file://") for part in images.split("::")]
    return "::".join(part if "://" in part else settled(part) for part in parts)


def open_store(url: str, patience_s: float = PATIENCE_S) -> Store:
    """The folder at `url`, a plain path or a URL that fsspec reads.

    Raises InvalidInput, which names a package that is missing.
    """
    if not is_url(url):
        return Store(fsspec.filesystem("file"), url, url, False, Patience(patience_s))
    patience = Patience(patience_s)
    with _explained(url):
        fs, path = patience.with_(lambda: url_to_fs(url), url) if is_far(url) else url_to_fs(url)
    shown = path if is_local(fs) else url.rstrip("/")
    return Store(fs, path.rstrip("/"), shown, is_far(url), patience)


def url_to_fs(url: str) -> tuple[Any, str]:
    # Listings that are kept would cost a kilobyte for each file.
    options = {} if protocols(url)[0] in NEAR else {"use_listings_cache": False}
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise InvalidInput(_unknown(url, error)) from error
    return fs, path


def is_url(text: str) -> bool:
    return "://" in text or "::" in text


def protocols(url: str) -> list[str]:
    """The protocols of a chain: zip and s3 for zip://*.png::s3://bucket/pool.zip."""
    return [part.partition("://")[0] if "://" in part else "file" for part in url.split("::")]


def is_far(url: str) -> bool:
    return not all(protocol in NEAR for protocol in protocols(url))


def is_local(fs: Any) -> bool:
    return "file" in fs.protocol


def too_large(name: str) -> InvalidImage:
    return InvalidImage(f"{name} has more than {MAX_BYTES:,} bytes", reason="IMAGE_TOO_LARGE")


def outside(key: str, store: Store) -> InvalidImage:
    return InvalidImage(f"{key} leads out of {store.url}", reason="IMAGE_OUTSIDE_ROOT")


def _read_local(path: Path, name: str) -> bytes:
    """The bytes of a regular file; any other kind is never opened, since it might block."""
    try:
        if not path.is_file():
            raise InvalidImage(f"{name} is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise too_large(name)
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidImage(f"{name} can't be read: {error}") from error


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except ABSENT as error:
        raise NotFound(f"there is no {name}") from error
    except OSError as error:
        raise InvalidInput(f"{name} can't be read: {error.strerror or error}") from error


def _unknown(url: str, error: Exception) -> str:
    for protocol in protocols(url):
        if isinstance(error, ImportError) and protocol in EXTRAS:
            return f"{protocol}:// needs an extra: {extras.install(EXTRAS[protocol])}"
        if isinstance(error, ImportError) and protocol in known_implementations:
            needed = known_implementations[protocol].get("err") or error
            return f"{protocol}:// needs another package: {needed}"
    readable = ", ".join(sorted(NEAR | {"s3", "gs", "az", "hf", "https"}))
    return f"{url} is no URL that can be read ({error}): name one of {readable}"
