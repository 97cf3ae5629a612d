"""Images on their way into a service: refused at once, decoded elsewhere, or shared."""

import asyncio
import gc
import os
import random

import psutil
import pytest

from protos.mpa.v1 import types_pb2
from services.core.errors import ImageUnknown, InvalidImage, InvalidInput, NotFound, Overloaded
from services.engines.image_decoder import ImageDecoder
from services.engines.images import MAX_BYTES, sha256
from services.environment import Environment
from services.rpc.images import ImageReceiver, ImageSettings
from tests.pictures import bomb_webp, longest_png, numbered_png, photo, png, slow_tiff
from tests.waiting import until

PHOTO = photo(640, 480)


async def test_bytes_then_their_hash():
    receiver = ImageReceiver()
    with pytest.raises(ImageUnknown):
        await receiver.receive(types_pb2.Image(sha256=sha256(PHOTO)))
    image = await receiver.receive(types_pb2.Image(data=PHOTO))
    assert await receiver.receive(types_pb2.Image(sha256=sha256(PHOTO))) is image
    assert await receiver.receive(types_pb2.Image(data=PHOTO)) is image


async def test_an_image_sent_by_many_at_once_is_decoded_once():
    receiver = ImageReceiver()
    images = await asyncio.gather(*(receiver.receive_bytes(PHOTO) for _ in range(50)))
    assert len({id(image) for image in images}) == 1


@pytest.fixture
async def standing():
    """A receiver with a single, suspended decoder process, and that process."""
    decoder = ImageDecoder(1)
    receiver = ImageReceiver(decoder=decoder)
    await receiver.receive_bytes(photo(700, 500))
    (process,) = (psutil.Process(pid) for pid in decoder.pids)
    process.suspend()
    yield receiver, process
    process.resume()


async def test_one_caller_who_goes_does_not_take_the_image_from_another(standing):
    receiver, process = standing
    first, second = (asyncio.create_task(receiver.receive_bytes(PHOTO)) for _ in range(2))
    await until(lambda: receiver.decoding == 1)
    first.cancel()
    process.resume()
    assert (await second).pixels.size == (640, 480)
    assert receiver.decoding == 0


async def test_images_whose_callers_are_gone_are_not_decoded(standing):
    receiver, process = standing
    callers = [
        asyncio.create_task(receiver.receive_bytes(photo(500, 300 + number)))
        for number in range(30)
    ]
    await until(lambda: receiver.decoding == 30)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert receiver.decoding == 0
    process.resume()
    assert (await receiver.receive_bytes(PHOTO)).pixels.size == (640, 480)


@pytest.mark.slow
async def test_the_loop_goes_on_while_costly_images_are_decoded():
    receiver = ImageReceiver()
    costly = [
        asyncio.create_task(receiver.receive_bytes(longest_png(number))) for number in range(2)
    ]
    costly += [
        asyncio.create_task(receiver.receive_bytes(bomb_webp(4000, 3000 + number)))
        for number in range(8)
    ]
    turns = 0
    while not all(task.done() for task in costly):
        await asyncio.sleep(0.001)
        turns += 1
        assert (await receiver.receive_bytes(numbered_png(turns % 1000))).pixels.height == 16
    assert turns > 100
    assert [task.result().pixels.size for task in costly[2:]] == [
        (4000, 3000 + number) for number in range(8)
    ]


@pytest.mark.slow
async def test_images_that_take_too_much_memory_together_are_turned_away_until_some_are_answered():
    receiver = ImageReceiver(ImageSettings(memory_gib=0.1))
    held = [await receiver.receive_bytes(bomb_webp(4000, 2500 + number)) for number in range(2)]
    with pytest.raises(Overloaded, match="MiB"):
        await receiver.receive_bytes(bomb_webp(4000, 2499))
    with pytest.raises(Overloaded):
        await asyncio.gather(
            *(receiver.receive_bytes(photo(2000, 1500, seed=number)) for number in range(4))
        )
    del held
    gc.collect()
    assert (await receiver.receive_bytes(bomb_webp(4000, 2499))).pixels.size == (4000, 2499)


async def test_recent_images_make_room_for_those_under_way():
    receiver = ImageReceiver(ImageSettings(memory_gib=0.1, cache_mib=100))
    for number in range(4):
        received = await receiver.receive_bytes(bomb_webp(4000, 2500 + number))
        assert await receiver.receive(types_pb2.Image(sha256=received.sha256)) is received
        del received
        gc.collect()


class CountingDecoder(ImageDecoder):
    """A decoder that counts its images."""

    def __init__(self):
        super().__init__()
        self.decoded = 0

    def submit(self, data, **options):
        self.decoded += 1
        return super().submit(data, **options)


@pytest.mark.slow
@pytest.mark.parametrize("cache_mib", [1024, 60])
async def test_many_callers_share_photos_of_all_sizes(cache_mib):
    """64 callers name photos by hash and send those that are unknown, as clients do."""
    files = [photo(640, 480, seed=number) for number in range(12)]
    files += [photo(4032, 3024, seed=number) for number in range(2)]
    decoder = CountingDecoder()
    receiver = ImageReceiver(ImageSettings(cache_mib=cache_mib), decoder)

    async def ask(seed):
        chosen = random.Random(seed)
        for data in chosen.choices(files, k=20):
            try:
                image = await receiver.receive(types_pb2.Image(sha256=sha256(data)))
            except ImageUnknown:
                image = await receiver.receive(types_pb2.Image(data=data))
            assert image.sha256 == sha256(data)
            assert image.pixels.size in ((640, 480), (4032, 3024))
            del image
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(seed) for seed in range(64)))
    assert receiver.decoding == 0
    if cache_mib == 1024:
        assert decoder.decoded == len(files), "each is decoded once"
    for data in files[:12]:
        await receiver.receive_bytes(data)
    decoded = decoder.decoded
    for data in files[:12]:
        await receiver.receive(types_pb2.Image(sha256=sha256(data)))
    assert decoder.decoded == decoded, "the cache holds as much as ever"


async def test_a_file_is_read_below_the_root_alone(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    receiver = ImageReceiver(ImageSettings(root))
    assert (await receiver.receive(types_pb2.Image(uri="file://a.png"))).pixels.size == (32, 32)
    for uri in ("../secret.png", "link.png", str(tmp_path / "secret.png")):
        with pytest.raises(InvalidImage) as refused:
            await receiver.receive(types_pb2.Image(uri=uri))
        assert refused.value.reason == "IMAGE_OUTSIDE_ROOT"
    with pytest.raises(InvalidInput, match="reads no image paths"):
        await ImageReceiver().receive(types_pb2.Image(uri="a.png"))


async def test_what_is_no_image_file_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    receiver = ImageReceiver(ImageSettings(tmp_path))

    async def refusal(uri):
        with pytest.raises((InvalidInput, NotFound)) as refused:
            await asyncio.wait_for(receiver.receive(types_pb2.Image(uri=uri)), 60)
        assert len(str(refused.value)) < 400
        return refused.value

    await refusal("missing.png")
    descriptors = psutil.Process().num_fds()
    assert "regular" in str(await refusal("pipe"))
    assert (await refusal("folder")).reason == "IMAGE_UNREADABLE"
    assert (await refusal("huge.png")).reason == "IMAGE_TOO_LARGE"
    assert type(await refusal("a\0b")) is InvalidInput
    assert type(await refusal("x" * 4000)) is InvalidImage
    assert type(await refusal("x/" * 3000)) in (InvalidImage, NotFound)
    assert type(await refusal("missing.png")) is NotFound
    assert psutil.Process().num_fds() == descriptors


async def test_tiff_is_taken_where_it_is_asked_for():
    with pytest.raises(InvalidImage, match="IMAGE_TIFF=1"):
        await ImageReceiver().receive_bytes(slow_tiff(50, 40))
    receiver = ImageReceiver(
        ImageSettings.from_environment(Environment("MPA_X_", {"MPA_X_IMAGE_TIFF": "1"}))
    )
    assert (await receiver.receive_bytes(slow_tiff(50, 40))).pixels.size == (50, 40)


async def test_sizes_are_checked_before_anything_is_done():
    receiver = ImageReceiver()
    for data, reason in ((b"", "IMAGE_EMPTY"), (bytes(MAX_BYTES + 1), "IMAGE_TOO_LARGE")):
        with pytest.raises(InvalidImage) as refused:
            await receiver.receive_bytes(data)
        assert refused.value.reason == reason


def test_images_may_take_a_quarter_of_the_memory_but_four_gib_at_least():
    quarter = psutil.virtual_memory().total / 4 / 2**30
    assert ImageSettings.from_environment(Environment("MPA_X_", {})).memory_gib == max(4, quarter)
    assert ImageSettings().memory_gib == max(4, quarter)


def test_the_cache_takes_a_gib_or_what_is_set():
    def cache_mib(**given):
        env = {f"MPA_X_IMAGE_{name}": value for name, value in given.items()}
        return ImageSettings.from_environment(Environment("MPA_X_", env)).cache_bytes / 2**20

    assert cache_mib() == 1024
    assert cache_mib(MEMORY_GIB="1") == 256
    assert cache_mib(MEMORY_GIB="1", CACHE_MIB="1000") == 1000
    assert cache_mib(CACHE_MIB="0") == 0
    for wrong in ("-1", "99999999"):
        with pytest.raises(InvalidInput, match="MPA_X_IMAGE_CACHE_MIB"):
            cache_mib(CACHE_MIB=wrong)


def test_a_memory_that_is_none_is_named():
    with pytest.raises(InvalidInput, match="MPA_X_IMAGE_MEMORY_GIB"):
        ImageSettings.from_environment(Environment("MPA_X_", {"MPA_X_IMAGE_MEMORY_GIB": "0"}))
