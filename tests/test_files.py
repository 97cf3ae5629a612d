import subprocess
import sys

import pytest

from services.core.errors import MpaError
from services.files import write_atomically, written_whole

FULL_DISK = """
import resource, sys
from pathlib import Path
from services.core.errors import MpaError
from services.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 100_000)
except MpaError as error:
    print(error.reason)
"""


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_text() == "two"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_no_room_leaves_the_old_content_and_nothing_half_written(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "STORAGE_FAILED"
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MpaError, match="file/below"):
        write_atomically(tmp_path / "file" / "below", "x")


def test_a_folder_is_there_at_the_end_or_not_at_all(tmp_path):
    with written_whole(tmp_path / "deep" / "folder") as target:
        (target / "part").mkdir(parents=True)
        assert not (tmp_path / "deep" / "folder").exists()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["folder", "part"]
    with written_whole(tmp_path / "deep" / "file") as target:
        target.write_text("whole")
    assert (tmp_path / "deep" / "file").read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_breaks_off_leaves_neither_file_nor_folder(tmp_path, error):
    for make in (lambda path: path.mkdir(), lambda path: path.write_text("half")):
        with (
            pytest.raises((KeyboardInterrupt, MpaError)),
            written_whole(tmp_path / "out") as target,
        ):
            make(target)
            raise error
        assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(MpaError, match="already exists"), written_whole(tmp_path / "file"):
        raise AssertionError
    assert (tmp_path / "file").read_text() == "old"
