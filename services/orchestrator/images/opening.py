"""Choice of the source that reads a user's images, by the kind of file at their path or URL."""

from __future__ import annotations

import glob
import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from services.core.errors import InvalidInput, NotFound
from services.orchestrator.images import manifest, tables, tars, zips
from services.orchestrator.images.folder import Folder, names_below
from services.orchestrator.images.manifest import ImageManifest
from services.orchestrator.images.patience import PATIENCE_S
from services.orchestrator.images.source import IMAGE_SUFFIXES, Source, is_hidden
from services.orchestrator.images.store import Store, is_url, open_store, protocols
from services.orchestrator.images.tables import ImageTables
from services.orchestrator.images.tars import Tars
from services.orchestrator.images.zips import Zips

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
SPLIT = re.compile(r"(?:^|/)(train|test|validation|valid|val|dev)(?=[-_./])")
WITHOUT_GLOBS = ("http", "https")
"""Protocols whose "?" is no wildcard."""

CONTAINERS = ((tables.SUFFIXES, ImageTables), (tars.SUFFIXES, Tars), (zips.SUFFIXES, Zips))


def open_images(images: str, patience_s: float = PATIENCE_S) -> Source:
    """Open a folder, a glob or a file, at a path or a URL that fsspec reads.

    Raises NotFound, InvalidInput, Unavailable.
    """
    first, mark, rest = images.partition("::")
    chain = mark + rest
    if wild := _wild(first):
        root, pattern = wild
        store = open_store(root + chain, patience_s)
        names = _expanded(pattern) if RANGE.search(pattern) else store.glob(pattern)
        return _of_files(store, names) or Folder(store, lambda: iter(names))
    store = open_store(images, patience_s)
    if store.is_folder():
        return _of_folder(store)
    root, _, name = first.rpartition("/")
    store = open_store((root or "/") + chain, patience_s)
    if not name or not store.has(name):
        raise NotFound(
            f"there is no file or folder {images}: name a folder of images, a glob or a file"
        )
    return _of_files(store, [name]) or Folder(store, lambda: iter([name]))


def require_images(images: str) -> None:
    """Check that there is an image. Raises NotFound, and all that `open_images` raises, at once."""
    next(open_images(images, patience_s=0).walk(lambda _: True))


def _wild(first: str) -> tuple[str, str] | None:
    """The folder above the first wildcard, and the rest."""
    is_plain = not is_url(first) and Path(first).exists()
    if is_plain or protocols(first)[0] in WITHOUT_GLOBS or not _has_wildcard(first):
        return None
    scheme, mark, path = first.rpartition("://")
    parts = path.split("/")
    wild = next(number for number, part in enumerate(parts) if _has_wildcard(part))
    root = "/".join(parts[:wild]) or ("" if scheme else "/")
    return scheme + mark + root, "/".join(parts[wild:])


def _has_wildcard(text: str) -> bool:
    return glob.has_magic(text) or RANGE.search(text) is not None


def _expanded(pattern: str) -> list[str]:
    """The names of a WebDataset range: shard-{000..002}.tar is three."""
    found = RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last = found.groups()
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return [
        name
        for number in numbers
        for name in _expanded(pattern[: found.start()] + number + pattern[found.end() :])
    ]


def _of_files(store: Store, names: Sequence[str]) -> Source | None:
    """The source of containers or manifests; None if the names are images themselves."""
    for suffixes, kind in CONTAINERS:
        if names and all(name.lower().endswith(suffixes) for name in names):
            return kind(store, names)
    if names and all(name.lower().endswith(manifest.SUFFIXES) for name in names):
        return ImageManifest(store, names)
    return None


def _of_folder(store: Store) -> Source:
    """A folder saved by `datasets`, else its images, else the containers in it."""
    if store.has("dataset_dict.json"):
        splits = _listed(store, "dataset_dict.json", "splits")
        if len(splits) != 1:
            raise InvalidInput(
                f"{store.url} holds {len(splits)} splits: name one, such as {store.at(splits[0])}"
            )
        store = open_store(store.at(splits[0]), store.patience.seconds)
    if store.has("state.json") and store.has("dataset_info.json"):
        return ImageTables(store, _listed(store, "state.json", "_data_files"))
    found: list[str] = []
    for name in names_below(store):
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name):
            return Folder(store)
        if not is_hidden(name):
            found.append(name)
    for suffixes, kind in CONTAINERS:
        if names := [name for name in found if name.lower().endswith(suffixes)]:
            _require_one_split(store, names)
            return kind(store, names)
    return Folder(store)


def _listed(store: Store, name: str, key: str) -> list[str]:
    """Names in a file that `datasets` saves. Raises InvalidInput: the file is damaged."""
    try:
        found = json.loads(store.open(name).read())[key]
        names = [each["filename"] if isinstance(each, dict) else each for each in found]
        if not all(isinstance(each, str) for each in names):
            raise ValueError(f"{key} has no names")
        return names
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"{store.at(name)} is damaged ({error!s:.200}): save the data set again"
        ) from error


def _require_one_split(store: Store, files: Sequence[str]) -> None:
    """Check for one split: a test split is in the pool only by choice. Raises InvalidInput."""
    splits = {split.group(1): file for file in files if (split := SPLIT.search(file))}
    if len(splits) > 1:
        file = splits.get("train", next(iter(splits.values())))
        pattern = (
            posixpath.join(posixpath.dirname(file), f"*{PurePosixPath(file).suffix}")
            if posixpath.dirname(file)
            else file
        )
        example = re.sub(r"\d+-of-\d+", "*", file) if "-of-" in file else pattern
        raise InvalidInput(
            f"{store.url} holds the splits {', '.join(sorted(splits))}: "
            f"name one, such as {store.at(example)}"
        )
