"""Code blocks of documents, and the mark above each that says how it is checked.

A mark is a comment in the document: `<!-- block: run -->`. It holds for the next block.

    run       a test executes it, with its placeholders filled in, on the fake engine
    parsed    its commands are read by the command line, its Python by the compiler
    gpu       as parsed; it needs a GPU or a large model to run
    cluster   as parsed; it needs containers, a cluster or several machines
    service   as parsed; it needs a service, an account or files of others
    text      shown text: output, a formula, a part of a file
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARKS = ("run", "parsed", "gpu", "cluster", "service", "text")
_MARK = re.compile(r"^<!-- block: (\w+) -->$")
_FENCE = re.compile(r"^(`{3,})(\w*)$")
_LIST = re.compile(r"^\s*([-*]|\d+\.) ")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of a document: its first line's number, the mark above it ("" for none)."""

    path: Path
    line: int
    mark: str
    language: str
    text: str


def read_blocks(path: Path) -> Iterator[CodeBlock]:
    """Fenced and indented blocks in their order; indented text of a list is none."""
    lines = [*path.read_text(encoding="utf-8").splitlines(), ""]
    mark, number, is_list = "", 0, False
    while number < len(lines):
        line = lines[number]
        start = number
        if found := _MARK.match(line):
            mark = found[1]
        elif fence := _FENCE.match(line):
            number = lines.index(fence[1], start + 1)
            text = "\n".join(lines[start + 1 : number])
            yield CodeBlock(path, start + 1, mark, fence[2], text)
            mark = ""
        elif line.startswith("    ") and not is_list and not lines[start - 1].strip():
            while lines[number].startswith("    ") or (
                not lines[number].strip() and lines[min(number + 1, len(lines) - 1)][:4] == "    "
            ):
                number += 1
            text = "\n".join(one[4:] for one in lines[start:number])
            yield CodeBlock(path, start + 1, mark, "", text)
            mark = ""
            continue
        if line.strip() and not line.startswith(" "):
            is_list = bool(_LIST.match(line))
        number += 1
