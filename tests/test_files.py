import subprocess
import sys

import pytest

from services.core.errors import MpaError
from services.files import write_atomically

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
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "STORAGE_FAILED"
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MpaError, match="file/below"):
        write_atomically(tmp_path / "file" / "below", "x")
