import os

import pytest

from services.core.errors import NotFound
from services.orchestrator.images.folder import Folder
from services.orchestrator.images.kept import WithKept
from services.orchestrator.images.opening import open_images, require_images
from services.orchestrator.images.reading import Accepted, RefusedImage
from services.orchestrator.images.reading import read_image as read
from services.orchestrator.images.store import open_store
from tests.orchestrator.images.walking import keys
from tests.pictures import bomb_png, png


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png())


def read_image(folder, name):
    return read(Folder(open_store(str(folder))), name)


def test_a_folder_is_searched_through_in_order_and_labels_are_left_alone(tmp_path):
    touch(
        tmp_path,
        "b.png",
        "a.JPG",
        "sub/c.webp",
        "sub-2.png",
        "labels.json",
        "sub/answers.csv",
        ".hidden.png",
        "no_suffix",
    )
    source = open_images(str(tmp_path))
    assert keys(source) == ["a.JPG", "b.png", "no_suffix", "sub-2.png", "sub/c.webp"]
    assert source.total() == 5
    assert (
        str(source.ignored)
        == "2 files that are not images (such as labels.json); the names of 1 folders (sub)"
    )


def test_files_of_formats_that_no_service_takes_are_named_and_passed_over(tmp_path):
    touch(tmp_path, "a.png", "b.tif", "c.bmp", "d.ppm")
    source = open_images(str(tmp_path))
    assert keys(source) == ["a.png", "b.tif"]
    assert str(source.ignored) == "2 files that are not images (such as c.bmp)"


def test_the_order_is_that_of_whole_paths_as_it_always_was(tmp_path):
    touch(
        tmp_path, "a/b.png", "a-1.png", "a.png", "a0.png", "a/b/c.png", "A.png", "ä/x.png", "z.png"
    )
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")]
    assert keys(open_images(str(tmp_path))) == sorted(found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("**/*.png", ["a.png", "b.png", "sub/c.png"]),
        ("sub/*", ["c.png"]),
        ("a.png", ["a.png"]),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_globs_and_single_files(tmp_path, pattern, expected, scheme):
    touch(tmp_path, "a.png", "b.png", "sub/c.png")
    assert keys(open_images(f"{scheme}{tmp_path / pattern}")) == expected


@pytest.mark.parametrize("name", ["nowhere", "", "*.png"])
def test_nothing_there_is_said_so(tmp_path, name):
    with pytest.raises(NotFound, match=r"no (file or folder|images)"):
        require_images(str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "IMAGE_EMPTY"),
        (b"I am a text", "IMAGE_UNREADABLE"),
        (png(size=(300, 300))[:-200], "IMAGE_TRUNCATED"),
        (bomb_png(), "IMAGE_TOO_MANY_PIXELS"),
    ],
)
def test_a_bad_image_is_refused_with_its_reason(tmp_path, content, reason):
    (tmp_path / "bad.png").write_bytes(content)
    found = read_image(tmp_path, "bad.png")
    assert isinstance(found, RefusedImage)
    assert found.reason == reason
    assert found.detail


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "1"])
def test_every_mode_is_accepted_and_its_bytes_travel_as_they_are(tmp_path, mode):
    data = png(0, mode=mode)
    (tmp_path / "good.png").write_bytes(data)
    found = read_image(tmp_path, "good.png")
    assert isinstance(found, Accepted)
    assert found.picture.data == data


def test_a_link_out_of_the_root_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    touch(tmp_path, "secret.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "root" / "loop.png").symlink_to(tmp_path / "root" / "loop.png")
    assert read_image(tmp_path / "root", "link.png").reason == "IMAGE_OUTSIDE_ROOT"
    assert read_image(tmp_path / "root", "../secret.png").reason == "IMAGE_OUTSIDE_ROOT"
    assert read_image(tmp_path / "root", "loop.png").reason == "IMAGE_UNREADABLE"


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_url_is_no_key_of_a_folder(tmp_path, scheme):
    """Keys are read from ledgers, and a stranger's ledger may say anything."""
    (tmp_path / "root").mkdir()
    url = f"{scheme}://{tmp_path}/secret.png"
    open_store(f"{scheme}://{tmp_path}").fs.pipe_file(f"{tmp_path}/secret.png", png())
    assert read_image(tmp_path / "root", url).reason == "IMAGE_OUTSIDE_ROOT"


def test_a_kept_image_is_a_file_of_its_folder(tmp_path):
    touch(tmp_path, "root/a.png", "kept/b", "secret.png")
    kept = WithKept(Folder(open_store(str(tmp_path / "root"))), "kept:", tmp_path / "kept")
    assert kept.read("kept:b") == kept.read("a.png") == png()
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        assert read(kept, f"kept:{name}").reason == "IMAGE_OUTSIDE_ROOT"


def test_what_is_no_regular_file_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert read_image(tmp_path, "pipe.png").reason == "IMAGE_UNREADABLE"
    assert read_image(tmp_path, "gone.png").reason == "IMAGE_UNREADABLE"
