"""Walks over a source of images, for the tests of every source."""

from services.orchestrator.images.source import ImageItem, Source


def keys(source: Source, done=()) -> list[str]:
    """Keys of the images that need reading."""
    return [item.key for item in source.walk(lambda key: key in done) if item.load]


def contents(source: Source) -> dict[str, bytes]:
    return {item.key: read(item) for item in source.walk(lambda _: False)}


def read(item: ImageItem) -> bytes:
    assert item.load is not None
    return item.load()
