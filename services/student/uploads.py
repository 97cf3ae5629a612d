"""Upload of a dataset: images, then the samples that name them."""

from __future__ import annotations

from threading import Lock

from services.core.errors import InvalidInput
from services.engines.images import sha256
from services.student.datasets import DatasetWriter, TrainingSample
from services.student.quotas import StorageAccount
from services.student.upload_room import GIB, UploadRoom

STEP_BYTES = 2**20
"""Step in which room for samples is reserved."""


class Upload:
    """Upload of one caller's dataset. One thread at a time works on it."""

    def __init__(self, room: UploadRoom, key: str = "", most_bytes: int = 0) -> None:
        """`key`: charged for the upload, with at most `most_bytes` for all of its data sets."""
        self._room = room
        self._account = StorageAccount(room.accounts, key, most_bytes)
        self._writer = DatasetWriter(room.datasets)
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
        """Store an image.

        Raises InvalidImage; InvalidInput: the images exceed the whole room; Overloaded: there is no
        room now, or the key's quota is used up; MpaError.
        """
        with self._lock:
            self._image_bytes += len(data)
            if self._image_bytes > self._room.max_bytes:
                raise InvalidInput(
                    f"the dataset's images exceed {self._room.max_bytes / GIB:.1f} GiB, the limit "
                    "of all datasets: send fewer, or set MPA_STUDENT_UPLOADS_MAX_GIB higher",
                    field="image",
                )
            image = sha256(data)
            if image not in self._held:
                self._account.take(len(data))
            self.images += image not in self._held
            self._hold(image)
            self._room.write(data, image)

    def is_ready_for(self, image: str) -> bool:
        """Whether a sample of this image can be added without waiting for disk or other uploads."""
        return image in self._held and self._writer.size_bytes < self._room_bytes

    def add_sample(self, sample: TrainingSample) -> None:
        """Write a sample. Raises InvalidInput, Overloaded, MpaError."""
        with self._lock:
            if self._writer.size_bytes >= self._room_bytes:
                self._account.take(STEP_BYTES)
                self._room.take(STEP_BYTES)
                self._room_bytes += STEP_BYTES
            self._hold(sample.image_sha256)
            self._writer.add(sample)
            self._named.add(sample.image_sha256)

    def flush(self) -> None:
        """Do the slow part of `finish`. Raises the same errors."""
        with self._lock:
            self._writer.flush()

    def finish(self) -> str:
        """Complete the dataset and return its name. Raises InvalidInput: no samples; MpaError."""
        with self._lock:
            self._writer.flush()
            before = self._writer.replaces_bytes
            unused = self._room_bytes - self._writer.size_bytes
            with self._account.charged(self._writer.name, unused):
                name = self._writer.finish()
            self._room.release(self._held, self._named)
            self._room.give_back(unused + before)
            self._held.clear()
            self._room_bytes = 0
            return name

    def end(self) -> None:
        """Remove an unfinished dataset. It does nothing after `finish`."""
        with self._lock:
            self._writer.abandon()
            self._account.end()
            self._room.release(self._held)
            self._room.give_back(self._room_bytes)
            self._held.clear()
            self._room_bytes = 0

    def _hold(self, image: str) -> None:
        if image not in self._held:
            self._room.hold(image)
            self._held.add(image)
