"""Foreign text in Markdown and in its YAML header: file names, answers, settings.

None of it can become markup, a link, HTML or another key, whatever it holds.
"""

from __future__ import annotations

import re

from services.rpc.shortening import printable

MOST_CHARS = 300
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


def scalar(text: str) -> str:
    """The text as a YAML scalar in double quotes, on one line."""
    return '"' + "".join(map(_yaml, text)) + '"'


def _yaml(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code < 0xE000:  # half of a pair, which no file holds
        return "\N{REPLACEMENT CHARACTER}"
    return f"\\U{code:08X}"


def code(text: str) -> str:
    """The text as a code span on one line, shortened; characters without a shape as escapes."""
    line = printable(" ".join(text.split()))
    if len(line) > MOST_CHARS:
        line = line[: MOST_CHARS - 4] + " ..."
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def cell(text: str) -> str:
    """The text as `code`, for a cell of a table."""
    return code(text).replace("|", "\\|")


def block(text: str, language: str) -> str:
    """Lines of program text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
