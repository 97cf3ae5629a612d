"""Images, read and checked: accepted, or refused with the reason. In the order of the source, a few ahead, in threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.core.errors import InvalidImage, InvalidInput
from services.engines.images import load_image, sha256
from services.orchestrator.images.likeness import likeness
from services.orchestrator.images.source import ImageItem, Source
from services.orchestrator.images.store import Store
from services.rpc.client import Picture

READ_AHEAD = 32
READERS, FAR_READERS = 4, 16
ITEMS_AT_ONCE, PASSED_AT_ONCE = 16, 4096


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """No usable image. `sha256` "" where it couldn't be read at all."""

    path: str
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """`path` is the key in the source; `likeness` as in likeness.py."""

    path: str
    picture: Picture
    likeness: bytes = b""


@dataclass(frozen=True, slots=True)
class Passed:
    """So many images that needed no reading."""

    count: int


def read_image(source: Source, key: str) -> Accepted | RefusedImage:
    """Never raises for what is wrong with the image. Its bytes travel as they are. Raises Unavailable."""
    return _check(key, lambda: source.read(key))


def read_again(source: Source, key: str, image_sha256: str) -> Picture:
    """An image that was accepted before. Raises InvalidInput where it is gone or another by now, Unavailable."""
    found = read_image(source, key)
    if isinstance(found, RefusedImage):
        raise InvalidInput(
            f"{source.store.at(key)} was an image earlier in this run and is none now: {found.detail}"
        )
    if found.picture.sha256 != image_sha256:
        raise InvalidInput(
            f"{source.store.at(key)} has changed since this run saw it: put it back, or start a new run"
        )
    return found.picture


def _check(key: str, load: Callable[[], bytes]) -> Accepted | RefusedImage:
    try:
        data = load()
    except InvalidImage as error:
        return RefusedImage(key, "", error.reason, str(error))
    try:
        image = load_image(data)
    except InvalidImage as error:
        return RefusedImage(key, sha256(data), error.reason, str(error))
    return Accepted(key, Picture(image.sha256, data), likeness(image.pixels))


async def read_images(
    store: Store, items: Generator[ImageItem]
) -> AsyncGenerator[Accepted | RefusedImage | Passed]:
    """What a walk over a source of `store` finds, at most READ_AHEAD images in memory. To be closed (`aclosing`).

    The walk goes on in a thread of its own.
    """
    loop = asyncio.get_running_loop()
    ahead: deque[asyncio.Future[Accepted | RefusedImage]] = deque()
    count = FAR_READERS if store.is_far else READERS
    with ThreadPoolExecutor(1, "walker") as walker, ThreadPoolExecutor(count, "reader") as readers:
        try:
            while True:
                due, passed = await loop.run_in_executor(walker, _take, items)
                if passed:
                    yield Passed(passed)
                for key, load in due:
                    ahead.append(loop.run_in_executor(readers, _check, key, load))
                    if len(ahead) == READ_AHEAD:
                        yield await ahead.popleft()
                if not due and not passed:
                    break
            while ahead:
                yield await ahead.popleft()
        finally:
            store.patience.abandon()
            for future in ahead:
                future.cancel()
            await loop.run_in_executor(walker, items.close)


def _take(items: Iterator[ImageItem]) -> tuple[list[tuple[str, Callable[[], bytes]]], int]:
    """A few that are due, and how many were passed on the way to them. Nothing of both at the end."""
    due: list[tuple[str, Callable[[], bytes]]] = []
    passed = 0
    for item in items:
        if item.load is None:
            passed += 1
        else:
            due.append((item.key, item.load))
        if len(due) == ITEMS_AT_ONCE or passed == PASSED_AT_ONCE:
            break
    return due, passed
