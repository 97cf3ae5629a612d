"""A bucket that becomes unreachable: the run waits, then stops, resumable; no image is refused."""

import asyncio
import threading

import boto3
import pytest
from moto.server import ThreadedMotoServer

from services.core.errors import InvalidImage, InvalidInput, NotFound, Unavailable
from services.orchestrator.images.opening import open_images, require_images
from services.orchestrator.images.reading import RefusedImage, read_image
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.images.conftest import PICTURES, lines_of, point_at, put, tar_of, zip_of
from tests.orchestrator.images.walking import contents, keys, read
from tests.orchestrator.scripted import ScriptedTeacher
from tests.pictures import numbered_png
from tests.waiting import until

POOL = {f"pool/{number:03}.png": numbered_png(number) for number in range(60)}


class Bucket:
    """A bucket on its own server, which a test can stop and restart."""

    def __init__(self, monkeypatch):
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, self._port = self._server.get_host_and_port()
        point_at(monkeypatch, f"http://{host}:{self._port}")
        boto3.client("s3").create_bucket(Bucket="kept")
        self.url = "s3://kept"

    def leave(self):
        self._server.stop()

    def come_back(self):
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()


@pytest.fixture
def flighty(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # only our own attempts are tested
    bucket = Bucket(monkeypatch)
    yield bucket
    bucket.leave()


@pytest.mark.parametrize("name", ["pool", "pool.tar"])
async def test_a_bucket_that_goes_away_stops_the_run_and_the_same_command_resumes_it(
    tmp_path, flighty, name
):
    put(flighty.url, {"pool.tar": tar_of(POOL)} if name == "pool.tar" else POOL)
    async with bench(tmp_path / "calm", f"{flighty.url}/{name}") as calm:
        whole = await calm.align()
    was_asked = []

    def leave_early(kind):
        if not was_asked:
            flighty.leave()
        was_asked.append(kind)

    teacher = ScriptedTeacher(trouble=leave_early)
    async with bench(tmp_path / "run", f"{flighty.url}/{name}", teacher, patience_s=0.3) as b:
        with pytest.raises(
            Unavailable,
            match=r"s3://kept/pool.* can't be reached .*: check the connection, then repeat",
        ):
            await b.align()
        assert rows(b.folder, "SELECT 1 FROM images WHERE rejection != ''") == []
        flighty.come_back()
        summary = await b.align()
    assert b.parity_set() == calm.parity_set() != ""
    assert (summary.images, summary.teacher_calls) == (60, whole.teacher_calls)


async def test_a_bucket_that_comes_back_in_time_costs_only_time(tmp_path, flighty):
    put(flighty.url, POOL)
    was_asked = []

    def leave_early(kind):
        if not was_asked:
            flighty.leave()
        was_asked.append(kind)

    teacher = ScriptedTeacher(trouble=leave_early)
    async with (
        bench(tmp_path / "run", f"{flighty.url}/pool", teacher, patience_s=30) as b,
        asyncio.TaskGroup() as group,
    ):
        aligning = group.create_task(b.align())
        await until(lambda: was_asked)
        await asyncio.sleep(0.5)
        flighty.come_back()
        summary = await aligning
    assert summary.images == 60
    assert summary.image_files.refused == {}


def test_a_manifest_on_this_machine_may_name_images_that_are_far_away(tmp_path, flighty):
    put(flighty.url, {"pool/a.png": PICTURES["000.png"]})
    put(
        str(tmp_path),
        {"m.jsonl": lines_of([{"image": f"{flighty.url}/pool/{name}.png"} for name in "ab"])},
    )
    source = open_images(f"{tmp_path}/m.jsonl", patience_s=0.1)
    first, second = keys(source)
    assert read_image(source, first).picture.data == PICTURES["000.png"]
    assert read_image(source, second).reason == "IMAGE_UNREADABLE"
    flighty.leave()
    with pytest.raises(Unavailable, match=r"pool/a\.png can't be reached"):
        read_image(source, first)
    flighty.come_back()
    assert source.read(first) == PICTURES["000.png"]


def test_a_member_that_is_broken_is_refused_alone_however_far_the_archive_is(bucket):
    data = zip_of({"a.png": PICTURES["000.png"], "b.png": PICTURES["001.png"]})
    put(bucket, {"pool.zip": data.replace(PICTURES["000.png"], bytes(len(PICTURES["000.png"])))})
    source = open_images(f"zip://*.png::{bucket}/pool.zip")
    assert read_image(source, "a.png").reason == "IMAGE_UNREADABLE"
    assert read_image(source, "b.png").picture.data == PICTURES["001.png"]


def test_what_isnt_there_is_believed_at_once(bucket):
    put(bucket, {"pool/a.png": PICTURES["000.png"]})
    source = open_images(f"{bucket}/pool", patience_s=60)
    found = read_image(source, "b.png")
    assert isinstance(found, RefusedImage)
    assert found.reason == "IMAGE_UNREADABLE"
    with pytest.raises(NotFound, match="nowhere"):
        require_images(f"{bucket}/nowhere")
    with pytest.raises(NotFound):
        require_images("s3://no-such-bucket-here/pool")


def test_a_large_file_is_never_fetched(bucket):
    put(bucket, {"pool/a.png": bytes(25 * 2**20)})
    with pytest.raises(InvalidImage, match="more than") as refused:
        open_images(f"{bucket}/pool").read("a.png")
    assert refused.value.reason == "IMAGE_TOO_LARGE"


def test_a_server_that_was_never_there_is_told_as_such(monkeypatch):
    point_at(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match="s3://kept/pool can't be reached"):
        open_images("s3://kept/pool", patience_s=0)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket/pool", "gs:// needs another package: Please install gcsfs"),
        ("nonsense://bucket/pool", "no URL that can be read"),
    ],
)
def test_a_file_system_that_isnt_installed_is_named(url, said):
    with pytest.raises(InvalidInput, match=said):
        open_images(url)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_lost_read_goes_on_where_it_was(flighty, kind):
    """The bucket is unreachable during a walk, and returns before patience ends."""
    put(flighty.url, {"pool.tar": tar_of(POOL), **POOL})
    url = f"{flighty.url}/{'pool.tar' if kind == 'tar' else 'pool'}"
    expected = list(contents(open_images(url)).values())
    walk = open_images(url, patience_s=30).walk(lambda _: False)
    found = [read(next(walk)) for _ in range(10)]
    flighty.leave()
    timer = threading.Timer(0.5, flighty.come_back)
    timer.start()
    found += [read(item) for item in walk]
    timer.join()
    assert found == expected
