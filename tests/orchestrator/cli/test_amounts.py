import pytest

from services.core.errors import InvalidInput
from services.orchestrator.cli.amounts import dollars, seconds, size_bytes


@pytest.mark.parametrize(
    ("read", "text", "amount"),
    [
        (dollars, "20USD", 20.0),
        (dollars, "$2.50", 2.5),
        (dollars, "0", 0.0),
        (dollars, "1 usd", 1.0),
        (seconds, "30d", 30 * 86_400.0),
        (seconds, "1.5h", 5_400.0),
        (size_bytes, "2GiB", 2**31),
        (size_bytes, "1.5 MB", 1_500_000),
        (size_bytes, "0", 0),
    ],
)
def test_amounts_are_read_as_people_write_them(read, text, amount):
    assert read(text) == amount


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (dollars, "20EUR"),
        (dollars, "-1"),
        (dollars, ""),
        (seconds, "30"),
        (seconds, "d"),
        (size_bytes, "2GX"),
    ],
)
def test_other_units_are_refused(read, text):
    with pytest.raises(InvalidInput, match="give one such as"):
        read(text)
