"""Reasons of errors that the code can give, and those that docs/errors.md explains."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from handbook.sources import ROOT

_REASON = re.compile(r"[A-Z]{2,}(_[A-Z]+)+|[A-Z]{5,}")
_NAMES = ("reason", "too_long")
"""Parameters that take a reason."""
_CHOICES = ("_reason", "fault")
"""Functions that return one."""


@cache
def reasons_in_code() -> dict[str, set[str]]:
    """Each reason that services/ can give, and the modules that name it."""
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "services").rglob("*.py"))
    }
    constants = {name: text for tree in trees.values() for name, text in _constants(tree)}
    places: dict[str, set[int]] = {}
    for name, place in (found for tree in trees.values() for found in _takers(tree)):
        places.setdefault(name, set()).add(place)
    found: dict[str, set[str]] = {}
    for module, tree in trees.items():
        for value in _values(tree, places):
            for text in _texts(value, constants):
                found.setdefault(text, set()).add(module)
    return found


def explained_reasons(document: Path = ROOT / "docs/errors.md") -> list[str]:
    """Reasons in the first columns of the tables of docs/errors.md, in their order."""
    cells = re.findall(r"^\| (`[A-Z][^|]*)\|", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    yield target.id, node.value.value


def _takers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions with a positional parameter for a reason, and its place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in node.args.args if one.arg != "self"]
            yield from ((node.name, names.index(name)) for name in _NAMES if name in names)


def _values(tree: ast.Module, places: dict[str, set[int]]) -> Iterator[ast.expr]:
    """Expressions whose value becomes a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (one.value for one in node.keywords if one.arg in _NAMES)
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            yield from (node.args[n] for n in places.get(name, ()) if n < len(node.args))
        elif isinstance(node, ast.ClassDef):
            yield from (
                one.value for one in node.body if isinstance(one, ast.Assign) and _is_reason(one)
            )
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.args[-len(node.args.defaults) :]] if node.args.defaults else []
            for one, default in zip(given, node.args.defaults, strict=True):
                if one.arg in _NAMES:
                    yield default
            if node.name in _CHOICES:
                yield from (
                    n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value
                )


def _is_reason(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "reason" for target in node.targets)


def _texts(value: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(value):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.Name):
            text = constants.get(node.id)
        if isinstance(text, str) and _REASON.fullmatch(text):
            yield text
