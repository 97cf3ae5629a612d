"""Markdown of tables and of text within their cells."""

from __future__ import annotations

from collections.abc import Iterable


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; its cells are Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


def code(text: str) -> str:
    """Text in the font of code, with nothing of it read as Markdown."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Text of one line, with signs of Markdown and HTML shown as they are."""
    line = " ".join(text.split())
    for sign in "\\`*_<>[]{}":
        line = line.replace(sign, f"\\{sign}" if sign not in "<>" else f"&{_NAMES[sign]};")
    return line


_NAMES = {"<": "lt", ">": "gt"}


def _cell(text: str) -> str:
    """Markdown of one line; Python-Markdown takes a bar within code as it is."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
    return "`".join(parts)
