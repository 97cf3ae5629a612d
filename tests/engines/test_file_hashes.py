"""A file is read once, and again after any change."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from services.engines.file_hashes import FileHashes

MIB = 2**20


def read_by_this_thread():
    return int(Path("/proc/thread-self/io").read_text().split()[1])


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def weights(tmp_path):
    """A file of zeros that has not changed for a while."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(4 * MIB)
    time.sleep(0.1)
    return path


def test_reads_a_file_once_also_after_its_folder_was_renamed(weights, tmp_path):
    hashes = FileHashes()
    assert hashes.sha256(weights) == _sha256(weights)
    before = read_by_this_thread()
    (tmp_path / "renamed").mkdir()
    assert hashes.sha256(weights) == hashes.sha256(weights)
    moved = weights.parent.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert hashes.sha256(moved / weights.name) == _sha256(moved / weights.name)
    assert read_by_this_thread() - before < 6 * MIB, "only _sha256 has read it"


def test_a_changed_byte_is_seen_whatever_the_file_says_of_its_age(weights):
    hashes = FileHashes()
    before = hashes.sha256(weights)
    stat = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"x")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert hashes.sha256(weights) == _sha256(weights) != before


def test_changes_within_a_tick_of_the_clock_are_seen(tmp_path):
    hashes = FileHashes()
    path = tmp_path / "fake.json"
    for number in range(50):
        path.write_text(f"{number % 10}")
        assert hashes.sha256(path) == _sha256(path)


def test_another_file_in_its_place_is_read(weights, tmp_path):
    hashes = FileHashes()
    hashes.sha256(weights)
    other = tmp_path / "other"
    other.write_bytes(b"x" * 4 * MIB)
    other.replace(weights)
    assert hashes.sha256(weights) == _sha256(weights)
