"""Reference of gRPC, from the comments of the .proto files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handbook.sources import ROOT
from handbook.tables import code, plain, table
from services.rpc.access.roles import NEEDED

PROTOS = ROOT / "protos/mpa/v1"
_BLOCK = re.compile(r"(service|message|enum|oneof) (\w+) \{(\})?")
_RPC = re.compile(r"rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)")
_FIELD = re.compile(r"(?:(repeated|optional) )?([\w.]+|map<[^>]+>) (\w+) = (\d+)")
_VALUE = re.compile(r"(\w+) = (\d+);")


@dataclass(frozen=True, slots=True)
class Entry:
    """An RPC, a field or a value: its name, its type and its comment."""

    name: str
    kind: str
    comment: str


@dataclass(frozen=True, slots=True)
class Block:
    """A service, message or enumeration, with the comment above it."""

    word: str
    name: str
    comment: str
    entries: list[Entry] = field(default_factory=list)


def call_page() -> str:
    """Every service, message and enumeration of protos/mpa/v1."""
    blocks = [block for path in sorted(PROTOS.glob("*.proto")) for block in read_blocks(path)]
    services = [block for block in blocks if block.word == "service"]
    others = sorted((block for block in blocks if block.word != "service"), key=lambda b: b.name)
    parts = [
        "# gRPC\n",
        "The package is `mpa.v1`. An RPC needs a key with one of its roles, if the service has "
        "keys. Trainings and swaps are operations of `google.longrunning.Operations`. Health is "
        "`grpc.health.v1.Health`.\n",
    ]
    for block in services:
        rows = [
            (code(one.name), code(one.kind), _roles(block.name, one.name), plain(one.comment))
            for one in block.entries
        ]
        parts += _section(block, table(("RPC", "request and reply", "role", "meaning"), rows))
    for block in others:
        fields = [(code(one.name), code(one.kind), plain(one.comment)) for one in block.entries]
        header = ("value", "number") if block.word == "enum" else ("field", "type")
        body = table((*header, "meaning"), fields) if fields else "It is empty.\n"
        parts += _section(block, body)
    return "\n".join(parts)


def _section(block: Block, body: str) -> list[str]:
    comment = f"{plain(block.comment)}\n" if block.comment else ""
    return [f"## {block.name}\n", comment, body]


def _roles(service: str, rpc: str) -> str:
    roles = NEEDED.get(f"/mpa.v1.{service}/{rpc}")
    return " or ".join(sorted(code(str(role)) for role in roles)) if roles else ""


def read_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a .proto file; a message within another has both names, a oneof none."""
    comment: list[str] = []
    opened: list[Block | None] = []
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        if begun := _BLOCK.match(line):
            block = None if begun[1] == "oneof" else _begun(begun, opened, " ".join(comment))
            if block and begun[3]:
                yield block
            elif not begun[3]:
                opened.append(block)
        elif line == "}":
            if (ended := opened.pop()) is not None:
                yield ended
        elif opened and (entry := _entry(line, " ".join(comment))):
            next(block for block in reversed(opened) if block).entries.append(entry)
        comment = []


def _begun(begun: re.Match[str], opened: list[Block | None], comment: str) -> Block:
    outer = next((f"{block.name}." for block in reversed(opened) if block), "")
    return Block(begun[1], outer + begun[2], comment)


def _entry(line: str, comment: str) -> Entry | None:
    if rpc := _RPC.match(line):
        asked, replied = (rpc[2] or "") + rpc[3], (rpc[4] or "") + rpc[5]
        return Entry(rpc[1], f"{asked} -> {replied}", comment)
    if found := _FIELD.match(line):
        return Entry(found[3], f"{found[1] or ''} {found[2]}".strip(), comment)
    if value := _VALUE.match(line):
        return Entry(value[1], value[2], comment)
    return None
