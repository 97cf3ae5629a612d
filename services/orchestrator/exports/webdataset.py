"""WebDataset: shards of about 1 GB from 00000.tar on.

A sample is KEY.png (or .jpg, ...) and KEY.json with its provenance.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from services.orchestrator.exports.pictures import suffix
from services.orchestrator.exports.samples import ExportedSamples

SHARD_BYTES = 10**9


def write(samples: ExportedSamples, target: Path, shard_bytes: int = SHARD_BYTES) -> int:
    target.mkdir()
    shards = _Shards(target, shard_bytes)
    try:
        for sample in samples.usable():
            image = samples.image(sample)
            known = json.dumps(samples.columns(sample.entry), ensure_ascii=False).encode()
            shards.add(sample.key, {suffix(image): image, "json": known})
    finally:
        shards.close()
    return shards.count


class _Shards:
    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._shard: tarfile.TarFile | None = None
        self._number = self.count = 0

    def add(self, key: str, files: dict[str, bytes]) -> None:
        """Add a sample, all of it to one shard."""
        if self._shard is None or self._shard.offset >= self._shard_bytes:
            self.close()
            self._shard = tarfile.open(  # noqa: SIM115 (closed by close)
                self._folder / f"{self._number:05}.tar", "w", format=tarfile.USTAR_FORMAT
            )
            self._number += 1
        for name, data in files.items():
            member = tarfile.TarInfo(f"{key}.{name}")
            member.size = len(data)
            self._shard.addfile(member, io.BytesIO(data))
        self._shard.members.clear()  # type: ignore[attr-defined] # else it keeps a million of them
        self.count += 1

    def close(self) -> None:
        if self._shard is not None:
            self._shard.close()
