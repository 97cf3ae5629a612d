"""What the tests of every source do with it."""

from services.orchestrator.images.source import Source


def keys(source: Source, done=()) -> list[str]:
    """Of the images that need reading."""
    return [item.key for item in source.walk(lambda key: key in done) if item.load]


def contents(source: Source) -> dict[str, bytes]:
    return {item.key: item.load() for item in source.walk(lambda _: False)}
