"""Datasets on their way in: the room that they may take, and the removal of images that no dataset names.

Images are shared: several uploads may send the same one, and several datasets may name it. One is removed when no upload that
is under way has sent or named it, and no dataset names it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from services.core.errors import InvalidInput, Overloaded
from services.engines.images import sha256
from services.environment import Environment
from services.student.datasets import DatasetStore, DatasetWriter, TrainingSample

_log = logging.getLogger(__name__)
GIB = 2**30
STEP_BYTES = 2**20
"""Step in which room for samples is taken."""
THREADS = 4
KEPT_S = 3600.0
"""A dataset that was uploaded or trained on so lately makes room for no other."""
MAX_FREE_BYTES, MAX_FREE_SHARE = 10 * GIB, 0.05
"""Room of the disk that is left to versions and checkpoints: the smaller of the two."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limits of the folder of datasets, images included."""

    max_bytes: int | None = None
    """Most bytes of the folder; None: half of the disk that it is on."""

    @staticmethod
    def from_environment(env: Environment) -> UploadLimits:
        """Raises InvalidInput: no room."""
        if not env.text("UPLOADS_MAX_GIB"):
            return UploadLimits()
        max_gib = env.number("UPLOADS_MAX_GIB", 0.0)
        if not 0 < max_gib < float("inf"):
            raise InvalidInput(
                f"{env.prefix}UPLOADS_MAX_GIB is {max_gib:g}: give more than 0",
                field=f"{env.prefix}UPLOADS_MAX_GIB",
            )
        return UploadLimits(int(max_gib * GIB))


class Uploads:
    """All uploads of one service. `in_use`: names of datasets that a training needs. Its methods may be called by threads.

    `threads`: the only ones that uploads are handled in, so that answers never wait for one of theirs.
    """

    def __init__(
        self, datasets: DatasetStore, limits: UploadLimits, in_use: Callable[[], Collection[str]]
    ) -> None:
        self.datasets = datasets
        self.threads = ThreadPoolExecutor(THREADS, "upload")
        self._in_use = in_use
        datasets.root.mkdir(parents=True, exist_ok=True)
        self.max_bytes = limits.max_bytes or shutil.disk_usage(datasets.root).total // 2
        self._lock = Lock()
        self._bytes = 0
        self._held: Counter[str] = Counter()
        self._unnamed: set[str] = set()
        """Images that were written by an upload under way, and that no dataset names yet."""

    def sweep(self) -> None:
        """At the start, before any upload: removes images that no dataset names, and measures the rest."""
        with self._lock:
            self._bytes = _size_bytes(self.datasets)
            try:
                self._remove_unneeded(self._names_of_images())
            except OSError as error:
                _log.error(
                    "images that no dataset names are kept, since a dataset can't be read: %s",
                    error,
                )

    def begin(self) -> Upload:
        """One upload, to be ended in any case."""
        return Upload(self)

    def take(self, size_bytes: int) -> None:
        """Takes room, of the least recently used datasets if there is no other. Raises Overloaded: there is none."""
        with self._lock:
            missing = self._missing(size_bytes)
            if missing > 0:
                self._make_room(missing)
                missing = self._missing(size_bytes)
            if missing > 0:
                raise Overloaded(
                    f"there is no room for uploads: datasets take {self._bytes / GIB:.1f} of {self.max_bytes / GIB:.1f} GiB, "
                    f"and {self._free_bytes() / GIB:.1f} GiB of the disk are free. Remove files from "
                    f"{self.datasets.root}, or set MPA_STUDENT_UPLOADS_MAX_GIB higher",
                    retry_after_s=30.0,
                )
            self._bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._bytes -= size_bytes

    def hold(self, image: str) -> None:
        """Keeps an image until `release`."""
        with self._lock:
            self._held[image] += 1

    def write(self, data: bytes, image: str) -> None:
        """Raises InvalidImage, Overloaded, MpaError."""
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
        """Ends an upload's hold; `named`: those that its dataset names. The others go if nobody else holds them."""
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
        """Bytes that are too much."""
        total = shutil.disk_usage(self.datasets.root).total
        left_free = min(MAX_FREE_BYTES, int(total * MAX_FREE_SHARE))
        return max(
            self._bytes + size_bytes - self.max_bytes, size_bytes + left_free - self._free_bytes()
        )

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.datasets.root).free

    def _make_room(self, needed: int) -> None:
        """Removes the least recently used datasets that nobody needs, if that frees `needed` bytes; else none."""
        in_use, latest = self._in_use(), time.time() - KEPT_S
        paths = [self.datasets.path(name) for name in self.datasets.names() if name not in in_use]
        old = [path for path in paths if path.stat().st_mtime < latest]
        if not old or needed > self._bytes:
            return
        names, freed = self._names_of_images(), 0
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
            _log.warning(
                "dataset %s makes room for another: upload it again to train on it", path.stem
            )
            self._bytes -= path.stat().st_size
            path.unlink()
        self._remove_unneeded(+names)

    def _names_of_images(self) -> Counter[str]:
        """How often each image is named by datasets. Raises OSError."""
        names: Counter[str] = Counter()
        for name in self.datasets.names():
            names.update(self._images_of(name))
        return names

    def _images_of(self, name: str) -> Counter[str]:
        """Image names of a dataset, up to the damage if there is any: such a dataset can't be trained on. Raises OSError."""
        names: Counter[str] = Counter()
        try:
            names.update(self.datasets.images_of(name))
        except (ValueError, KeyError, TypeError) as error:
            _log.error(
                "dataset %s is damaged (%r): remove its file, then upload it again", name, error
            )
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
            _log.error("%s is not needed, but can't be removed: %s", path, error)


class Upload:
    """One caller's dataset: images, then the samples that name them. One thread at a time does something for it."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._writer = DatasetWriter(uploads.datasets)
        self._lock = Lock()
        self._held: set[str] = set()
        self._named: set[str] = set()
        self._image_bytes = 0
        self._room_bytes = 0
        self.images = 0

    @property
    def samples(self) -> int:
        return self._writer.samples

    def add_image(self, data: bytes) -> None:
        """Raises InvalidImage, InvalidInput (more than there may ever be), Overloaded (no room), MpaError."""
        with self._lock:
            self._image_bytes += len(data)
            if self._image_bytes > self._uploads.max_bytes:
                raise InvalidInput(
                    f"the dataset's images take more than the {self._uploads.max_bytes / GIB:.1f} GiB that all datasets may: "
                    "send fewer, or set MPA_STUDENT_UPLOADS_MAX_GIB higher",
                    field="image",
                )
            image = sha256(data)
            self.images += image not in self._held
            self._hold(image)
            self._uploads.write(data, image)

    def is_ready_for(self, image: str) -> bool:
        """Whether a sample of this image can be added without waiting for other uploads or much of the disk."""
        return image in self._held and self._writer.size_bytes < self._room_bytes

    def add_sample(self, sample: TrainingSample) -> None:
        """Raises InvalidInput, Overloaded, MpaError."""
        with self._lock:
            if self._writer.size_bytes >= self._room_bytes:
                self._uploads.take(STEP_BYTES)
                self._room_bytes += STEP_BYTES
            self._hold(sample.image_sha256)
            self._writer.add(sample)
            self._named.add(sample.image_sha256)

    def flush(self) -> None:
        """Does the slow part of `finish`. Raises as that does."""
        with self._lock:
            self._writer.flush()

    def finish(self) -> str:
        """The dataset's name. Raises InvalidInput: no samples; MpaError."""
        with self._lock:
            before = self._writer.replaces_bytes
            name = self._writer.finish()
            self._uploads.release(self._held, self._named)
            self._uploads.give_back(self._room_bytes - self._writer.size_bytes + before)
            self._held, self._room_bytes = set(), 0
            return name

    def end(self) -> None:
        """Removes all that is unfinished; does nothing where `finish` was reached."""
        with self._lock:
            self._writer.abandon()
            self._uploads.release(self._held)
            self._uploads.give_back(self._room_bytes)
            self._held, self._room_bytes = set(), 0

    def _hold(self, image: str) -> None:
        if image not in self._held:
            self._uploads.hold(image)
            self._held.add(image)


def _size_bytes(datasets: DatasetStore) -> int:
    """Size of all files."""
    folders = [datasets.root, datasets.root / "images"]
    entries = [entry for folder in folders if folder.is_dir() for entry in os.scandir(folder)]
    return sum(entry.stat().st_size for entry in entries if entry.is_file())
