"""Images, read and checked: accepted, or refused with the reason.

They come in the order of the source; threads read a few ahead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.core.errors import InvalidImage, InvalidInput
from services.core.pixels import UNLIMITED, PixelBudget
from services.engines.images import load_image, sha256
from services.orchestrator.images.likeness import likeness
from services.orchestrator.images.shrinking import as_sent
from services.orchestrator.images.source import ImageItem, Source
from services.orchestrator.images.store import Store
from services.rpc.client import Picture

READ_AHEAD = 32
READERS, FAR_READERS = 4, 16
ITEMS_AT_ONCE = 16
PASSED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """A file that is no usable image. `sha256` is "" if it couldn't be read at all."""

    path: str
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A usable image. `path` is its key in the source; `likeness` as in likeness.py.

    `size`: width and height of the original in pixels, upright; (0, 0) if unknown.
    """

    path: str
    picture: Picture
    likeness: bytes = b""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Passed:
    """The number of images that needed no reading."""

    count: int


def read_image(
    source: Source, key: str, budget: PixelBudget = UNLIMITED
) -> Accepted | RefusedImage:
    """Read one image; a faulty one is a RefusedImage. Its picture is within the budget.

    Raises Unavailable.
    """
    return _check(key, lambda: source.read(key), budget)


def read_again(
    source: Source, key: str, image_sha256: str, budget: PixelBudget = UNLIMITED
) -> Picture:
    """An image that was accepted before, within the budget.

    Raises InvalidInput if it is missing or has changed since, Unavailable.
    """
    found = read_image(source, key, budget)
    if isinstance(found, RefusedImage):
        raise InvalidInput(
            f"{source.store.at(key)} was an image earlier in this run and is none now "
            f"({found.detail}): put it back, or start a new run"
        )
    if found.picture.sha256 != image_sha256:
        raise InvalidInput(
            f"{source.store.at(key)} has changed since this run saw it: "
            "put it back, or start a new run"
        )
    return found.picture


def _check(key: str, load: Callable[[], bytes], budget: PixelBudget) -> Accepted | RefusedImage:
    try:
        data = load()
    except InvalidImage as error:
        return RefusedImage(key, "", error.reason, str(error))
    try:
        image = load_image(data)
    except InvalidImage as error:
        return RefusedImage(key, sha256(data), error.reason, str(error))
    return Accepted(key, as_sent(image, budget), likeness(image.pixels), image.pixels.size)


async def read_images(
    store: Store, items: Generator[ImageItem], budget: PixelBudget = UNLIMITED
) -> AsyncGenerator[Accepted | RefusedImage | Passed]:
    """Images of a walk over a source of `store`, at most READ_AHEAD in memory.

    Their pictures are within the budget. The walk has a thread of its own. Close the generator
    (`aclosing`).
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
                    ahead.append(loop.run_in_executor(readers, _check, key, load, budget))
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
    """A few images that are due, and the number passed before them. Both are empty at the end."""
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
