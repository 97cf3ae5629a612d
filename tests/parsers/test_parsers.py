"""Damaged input for every reader, by hypothesis. `make fuzz` searches longer, by atheris."""

import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.bystander import IMAGE
from tests.parsers.files import FILES, a_ledger, arrow, parquet, zipped
from tests.parsers.requests import REQUESTS

pytestmark = pytest.mark.slow
PARSERS = {**REQUESTS, **FILES}
EDITS = st.lists(
    st.tuples(st.integers(0, 2**12), st.integers(0, 8), st.binary(max_size=8)), max_size=4
)
"""Place, removed bytes and inserted bytes of each change."""


def changed(data, edits):
    for at, removed, inserted in edits:
        at %= len(data) + 1
        data = data[:at] + inserted + data[at + removed :]
    return data


DEEP = b"[" * 100_000
SIZE = len(IMAGE)
OFFSETS = struct.pack("<3i", 0, SIZE, 2 * SIZE)
WITHOUT_END = struct.pack("<3i", 0, SIZE, 2**30)
LZMA = b"\x09\x04\x05\0\x5d"
"""Begin of a member's LZMA data; the last byte is its options."""
BAD_NAME = b"\x97mage"
"""A column's name that is no UTF-8."""
NUMBERS = b'{"choices": [], "usage": {"prompt_tokens": 1e999}}'
TSV = b"index\timage\tquestion\tanswer\n1\t%s\twhat?\t%s\n"


def signed(count):
    """A list in Python's notation: a RecursionError if deep, a MemoryError if deeper."""
    return b"[" + b"-" * count + b"1]"


FOUND = [
    ("arrow", arrow().replace(OFFSETS, WITHOUT_END)),
    ("arrow", arrow().replace(b"image", BAD_NAME)),
    ("rows", parquet().replace(b"image", BAD_NAME)),
    ("parquet", parquet().replace(b"image", BAD_NAME)),
    ("ledger", a_ledger().replace(b"CREATE TABLE", b"CREATE TABL\xd0")),
    ("list", DEEP),
    ("list", b'{"image": "a.png"}\n' + DEEP),
    ("table", b"text\na.png,x\n"),
    ("table", b"image\n" + b"x" * 2**18),
    ("zip", zipped(zipfile.ZIP_STORED).replace(b"a.png", b"\0.png")),
    ("zip", zipped(zipfile.ZIP_LZMA).replace(LZMA, LZMA[:-1] + b"\xff")),
    ("pathvqa", b"\x80\x04\x95" + b"\xff" * 8),
    ("jsonl", DEEP),
    ("textvqa", DEEP),
    ("vlmevalkit", TSV % ("é".encode() * 99, b"yes")),
    ("vlmevalkit", TSV % (b"aaaa" * 30, signed(3_000))),
    ("vlmevalkit", TSV % (b"aaaa" * 30, signed(100_000))),
    ("completion", DEEP),
    ("completion", NUMBERS),
    ("weights", struct.pack("<Q", len(DEEP)) + DEEP),
    ("weights", struct.pack("<Q", 25) + b'{"a": {"shape": [1e999]}}'),
]
"""Inputs that once ended a program, or one of its calls, with a traceback."""


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[name for name, _ in FOUND])
def test_what_was_found_once_stays_mended(name, data):
    PARSERS[name]().try_to_read(data)


@pytest.mark.parametrize("name", PARSERS)
def test_every_damaged_input_is_refused_or_read(name):
    parser = PARSERS[name]()

    @settings(database=None, deadline=None, max_examples=50, derandomize=True)
    @given(st.sampled_from(parser.seeds), EDITS)
    def read(seed, edits):
        parser.try_to_read(changed(seed, edits))

    for seed in parser.seeds:
        parser.try_to_read(seed)
    read()
