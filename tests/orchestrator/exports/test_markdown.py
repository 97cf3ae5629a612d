"""Foreign text in Markdown and YAML stays text."""

import re

import pytest

from services.orchestrator.exports.markdown import block, cell, code, scalar, table

NASTY = [
    "plain",
    'a "quoted" \\ text',
    "a: b\n- c\n---\n# d",
    "`one` ``two`` and `",
    "<script>alert(1)</script> [link](javascript:x) ![i](http://a/b) @user | cell |",
    "\u202edlrow\u202c \u2028 \x85 \x07 \x00 \ufeff \x7f",
    "\U0001f600 \u05d0 \u0301",
    "{{ jinja }} %TAG &anchor *alias !!python/object",
    "```\n<b>\n````",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_scalar_is_read_as_the_text_itself(text):
    import yaml

    written = scalar(text)
    assert "\n" not in written
    assert written.isprintable()
    assert yaml.safe_load(f"key: {written}\nnext: 1") == {"key": text, "next": 1}


@pytest.mark.parametrize("text", NASTY)
def test_a_code_span_ends_where_the_text_ends(text):
    written = code(text)
    assert written.isprintable()
    fence = re.match("`+", written).group()
    inside = written.removeprefix(fence).removesuffix(fence)
    assert fence not in re.findall("`+", inside)
    assert not inside.startswith("`")
    assert not inside.endswith("`")


def test_half_of_a_pair_can_be_written():
    assert scalar("a\ud800").encode()
    assert code("a\ud800").encode()


def test_a_cell_has_no_bar_and_a_block_no_early_end():
    (_, _, row) = table(("a",), [(cell("x | y"),)]).splitlines()
    assert re.findall(r"(?<!\\)\|", row) == ["|", "|"]
    written = block("```\n````", "json").splitlines()
    assert written[0] == "`````json"
    assert written[-1] == "`````"


def test_long_text_is_shortened():
    assert len(code("x" * 100_000)) < 400
