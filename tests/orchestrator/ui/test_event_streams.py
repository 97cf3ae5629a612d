"""Places of event streams: a bounded number, a clear refusal, and each is free again."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from services.core.errors import Overloaded
from services.orchestrator.ui.event_streams import MOST_STREAMS, EventStreams


async def events(*texts):
    for text in texts:
        if text is None:
            raise ConnectionResetError
        yield text


def test_streams_beyond_the_bound_are_refused_until_one_ends():
    streams = EventStreams()
    app = Starlette(routes=[Route("/", lambda _: open_streams.pop())])
    open_streams = [streams.response(events("data: x\n\n")) for _ in range(MOST_STREAMS - 1)]
    open_streams.append(streams.response(events(None)))
    with pytest.raises(Overloaded, match="load the page again"):
        streams.response(events())
    with TestClient(app) as client:
        with pytest.raises(ConnectionResetError):
            client.get("/")
        open_streams.append(streams.response(events("data: y\n\n")))
        with pytest.raises(Overloaded):
            streams.response(events())
        answer = client.get("/")
        assert answer.text == "data: y\n\n"
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
    assert streams.response(events())
