import pytest

from services.core import errors
from services.rpc.status import from_status, http_status, to_status


@pytest.mark.parametrize(
    ("error", "code", "http"),
    [
        (errors.InvalidInput("bad", field="question", reason="QUESTION_EMPTY"), 3, 400),
        (errors.InvalidImage("bad", reason="IMAGE_TRUNCATED"), 3, 400),
        (errors.NotFound("no"), 5, 404),
        (errors.ImageUnknown("no"), 5, 404),
        (errors.WrongState("no"), 9, 409),
        (errors.Conflict("no"), 10, 409),
        (errors.Overloaded("busy", retry_after_s=0.25), 8, 429),
        (errors.Unavailable("down"), 14, 503),
        (errors.Pending("later", retry_after_s=60.0), 14, 503),
        (errors.BadReply("nothing"), 13, 502),
        (errors.TimedOut("silent"), 4, 408),
        (errors.Cancelled("off"), 1, 499),
        (errors.EngineFailed("broken"), 13, 500),
        (errors.SwapFailed("broken"), 13, 500),
        (errors.MpaError("broken"), 13, 500),
    ],
)
def test_an_error_survives_the_wire(error, code, http):
    status = to_status(error)
    back = from_status(status)
    assert status.code == code
    assert http_status(error) == http
    assert (str(back), back.reason) == (str(error), error.reason)
    assert isinstance(error, type(back)) or type(back) is errors.Unavailable
    if isinstance(error, errors.InvalidInput):
        assert isinstance(back, errors.InvalidInput)
        assert back.field == error.field
    if isinstance(error, errors.Overloaded):
        assert isinstance(back, errors.Overloaded)
        assert back.retry_after_s == pytest.approx(0.25)
    if isinstance(error, (errors.Pending, errors.BadReply, errors.EngineFailed, errors.SwapFailed)):
        assert type(back) is type(error)
