import pytest

from tests.rpc.callers import serving


@pytest.fixture
async def peer():
    """A running server with its servicer (callers.py)."""
    async with serving() as peer:
        yield peer
