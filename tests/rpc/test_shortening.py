import pytest

from services.rpc.shortening import GAP, printable, shortened


@pytest.mark.parametrize("text", ["", "short", "é" * 50, "x" * 100])
def test_what_fits_stays_as_it_is(text):
    assert shortened(text, 100) == text


@pytest.mark.parametrize(
    "text", ["x" * 101, "é" * 51, "\U0001f600" * 2**20, "begin" + "x" * 2**20 + "end"]
)
def test_what_does_not_fit_keeps_its_beginning_and_its_end(text):
    short = shortened(text, 100)
    beginning, ending = short.split(GAP)
    assert len(short.encode()) <= 100
    assert text.startswith(beginning)
    assert text.endswith(ending)
    assert len(beginning.encode()) > 40 < len(ending.encode())


def test_a_lone_surrogate_is_escaped():
    assert shortened("a\ud800b") == "a\\ud800b"


def test_text_for_a_log_stays_on_its_line():
    assert printable("/v1/é 日本") == "/v1/é 日本"
    assert printable("a\nb\x1b[2J\u202e\u2028\ud800") == r"a\nb\x1b[2J\u202e\u2028\ud800"
