"""Disk space for datasets, and the removal of images that no dataset names.

Images are shared: several uploads may send the same one, and several datasets may name it. An image
is removed when no dataset names it and no upload under way has sent or named it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.student.datasets import DatasetStore
from services.student.quotas import StorageAccounts

_log = logging.getLogger(__name__)
GIB = 2**30
THREADS = 4
KEPT_S = 3600.0
"""Seconds after its upload or last training during which a dataset is not removed for others."""
MAX_FREE_BYTES = 10 * GIB
MAX_FREE_SHARE = 0.05
"""Disk space left to versions and checkpoints: the smaller of bytes and share of the disk."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limit of the folder of datasets, images included."""

    max_bytes: int | None = None
    """Largest size of the folder; None: half of its disk."""

    @staticmethod
    def from_environment(env: Environment) -> UploadLimits:
        """Raises InvalidInput: the limit is not above 0."""
        if not env.text("UPLOADS_MAX_GIB"):
            return UploadLimits()
        max_gib = env.number("UPLOADS_MAX_GIB", 0.0)
        if not 0 < max_gib < float("inf"):
            raise InvalidInput(
                f"{env.prefix}UPLOADS_MAX_GIB is {max_gib:g}: give more than 0",
                field=f"{env.prefix}UPLOADS_MAX_GIB",
            )
        return UploadLimits(int(max_gib * GIB))


class UploadRoom:
    """Disk space shared by all uploads of a service. Its methods may be called by threads.

    `in_use` returns names of datasets that a training needs. Uploads are handled in `threads` only,
    so that answers never wait for one of theirs.
    """

    def __init__(
        self, datasets: DatasetStore, limits: UploadLimits, in_use: Callable[[], Collection[str]]
    ) -> None:
        self.datasets = datasets
        self.accounts = StorageAccounts(datasets.root)
        self.threads = ThreadPoolExecutor(THREADS, "upload")
        self._in_use = in_use
        datasets.root.mkdir(parents=True, exist_ok=True)
        self.max_bytes = limits.max_bytes or shutil.disk_usage(datasets.root).total // 2
        self._lock = Lock()
        self._bytes = 0
        self._held: Counter[str] = Counter()
        self._unnamed: set[str] = set()
        """Images written by an upload under way, and not yet named by a dataset."""

    def sweep(self) -> None:
        """Remove images that no dataset names, and measure the rest, before the first upload."""
        self.accounts.load()
        with self._lock:
            self._bytes = _size_bytes(self.datasets)
            try:
                self._remove_unneeded(self._names_of_images())
            except OSError as error:
                _log.error("unnamed images are kept, because a dataset can't be read: %s", error)

    def take(self, size_bytes: int) -> None:
        """Reserve room, if needed by removing old datasets. Raises Overloaded: there is none."""
        with self._lock:
            missing = self._missing(size_bytes)
            if missing > 0:
                self._make_room(missing)
                missing = self._missing(size_bytes)
            if missing > 0:
                used = f"{self._bytes / GIB:.1f} of {self.max_bytes / GIB:.1f} GiB"
                raise Overloaded(
                    f"there is no room for uploads: datasets take {used}, and "
                    f"{self._free_bytes() / GIB:.1f} GiB of the disk are free. Remove files from "
                    f"{self.datasets.root}, or set MPA_STUDENT_UPLOADS_MAX_GIB higher",
                    retry_after_s=30.0,
                    limit="uploads",
                )
            self._bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._bytes -= size_bytes

    def hold(self, image: str) -> None:
        """Keep an image until `release`."""
        with self._lock:
            self._held[image] += 1

    def write(self, data: bytes, image: str) -> None:
        """Store an image. Raises InvalidImage, Overloaded, MpaError."""
        path = self.datasets.image_path(image)
        if path.is_file():
            return
        self.take(len(data))
        try:
            self.datasets.add_image(data)
        except BaseException:
            self.give_back(len(data))
            raise
        with self._lock:
            if image in self._unnamed:  # another upload has written it at the same time
                self._bytes -= len(data)
            self._unnamed.add(image)

    def release(self, images: Collection[str], named: Collection[str] = ()) -> None:
        """End an upload's hold of images, of which its dataset names `named`.

        The others are removed if nothing else holds them.
        """
        with self._lock:
            self._unnamed.difference_update(named)
            for image in images:
                self._held[image] -= 1
                if not self._held[image]:
                    del self._held[image]
                    if image in self._unnamed:
                        self._unnamed.discard(image)
                        self._remove(image)

    def _missing(self, size_bytes: int) -> int:
        """Number of bytes that are missing."""
        total = shutil.disk_usage(self.datasets.root).total
        left_free = min(MAX_FREE_BYTES, int(total * MAX_FREE_SHARE))
        return max(
            self._bytes + size_bytes - self.max_bytes, size_bytes + left_free - self._free_bytes()
        )

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.datasets.root).free

    def _make_room(self, needed: int) -> None:
        """Remove the least recently used datasets if that frees `needed` bytes; otherwise none."""
        in_use = self._in_use()
        old = [
            self.datasets.path(name)
            for name in self.datasets.names()
            if name not in in_use and self.datasets.idle_s(name) > KEPT_S
        ]
        if not old or needed > self._bytes:
            return
        names = self._names_of_images()
        freed = 0
        chosen = []
        for path in old:
            chosen.append(path)
            own = self._images_of(path.stem)
            names.subtract(own)
            freed += path.stat().st_size
            freed += sum(
                self._image_bytes(image)
                for image in own
                if not names[image] and image not in self._held
            )
            if freed >= needed:
                break
        else:
            return
        for path in chosen:
            _log.warning("dataset %s is removed for another: upload it again to use it", path.stem)
            self._bytes -= path.stat().st_size
            path.unlink()
            self.accounts.forget(path.stem)
        self._remove_unneeded(+names)

    def _names_of_images(self) -> Counter[str]:
        """Number of samples that name each image, in all datasets. Raises OSError."""
        names: Counter[str] = Counter()
        for name in self.datasets.names():
            names.update(self._images_of(name))
        return names

    def _images_of(self, name: str) -> Counter[str]:
        """Number of samples that name each image, up to any damage of the file. Raises OSError."""
        names: Counter[str] = Counter()
        try:
            names.update(self.datasets.images_of(name))
        except (ValueError, KeyError, TypeError) as error:
            text = "dataset %s is damaged (%r): remove its file, then upload it again"
            _log.error(text, name, error)
        return names

    def _remove_unneeded(self, named: Collection[str]) -> None:
        folder = self.datasets.root / "images"
        for entry in os.scandir(folder) if folder.is_dir() else ():
            if entry.name not in named and entry.name not in self._held:
                self._remove(entry.name)

    def _image_bytes(self, image: str) -> int:
        path = self.datasets.image_path(image)
        return path.stat().st_size if path.is_file() else 0

    def _remove(self, image: str) -> None:
        path = self.datasets.image_path(image)
        try:
            size = path.stat().st_size
            path.unlink()
            self._bytes -= size
        except OSError as error:
            _log.error("%s is unneeded, but can't be removed: %s", path, error)


def _size_bytes(datasets: DatasetStore) -> int:
    """Size of all files."""
    folders = [datasets.root, datasets.root / "images"]
    entries = [entry for folder in folders if folder.is_dir() for entry in os.scandir(folder)]
    return sum(entry.stat().st_size for entry in entries if entry.is_file())
