"""Rules of structure that no linter keeps: cycles, names, parameters, words of docstrings."""

import ast
import re
import statistics
from collections import Counter, defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORCHESTRATOR = ROOT / "services" / "orchestrator"
MOST_PARAMETERS, MOST_BUT_FOR_A_FEW = 12, 5
LOOSE_MODULES = 6
LONGEST_MODULE = 300
MEAN_LINE = 46
OPENINGS = ("Of", "Those", "What", "As")
STATE_KEYS = re.compile(r"\bledger\.(set_)?meta\(")
SQL = re.compile(r"\bledger\.(read|write)\(|\"(SELECT|INSERT|UPDATE|DELETE) ")


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module of services/, by dotted name; a package by its folder."""
    found = {}
    for path in sorted((ROOT / "services").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.Module):
    """Names of the modules of services/ that `tree` imports, wherever the statement is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in modules() else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def siblings() -> dict[str, dict[str, set[str]]]:
    """For each package, which of its children (modules and folders) import which others."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, tree in modules().items():
        for target in imported(tree):
            ours, theirs = name.split("."), target.split(".")
            shared = next(
                (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None
            )
            if shared:
                package = ".".join(ours[:shared])
                found[package][ours[shared]].add(theirs[shared])
    return found


@pytest.mark.parametrize("package", sorted(siblings()))
def test_modules_and_folders_of_a_package_import_each_other_in_one_direction(package):
    try:
        TopologicalSorter(siblings()[package]).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' -> '.join(error.args[1])}")


def test_no_import_is_hidden_from_the_running_program():
    hidden = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and "TYPE_CHECKING" in (getattr(node, "id", ""), getattr(node, "attr", ""))
    ]
    assert not hidden


def test_class_names_are_unique():
    named = Counter(
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in named.items() if count > 1] == []


def test_the_root_of_the_orchestrator_is_the_flow():
    loose = {path.stem for path in ORCHESTRATOR.glob("*.py")} - {"__init__"}
    assert loose == {"alignment", "stream", "in_turn", "rounds", "in_flight"}
    assert len(loose) <= LOOSE_MODULES


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    named = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A typer command: its signature is its list of options."""
    return any(
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr in ("command", "callback")
        for decorator in function.decorator_list
    )


def functions():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_functions_take_few_parameters():
    counts = {
        f"{name}.{function.name}": parameters(function)
        for name, function in functions()
        if not is_command(function)
    }
    assert {name: n for name, n in counts.items() if n > MOST_PARAMETERS} == {}
    assert statistics.quantiles(counts.values(), n=20)[-1] <= MOST_BUT_FOR_A_FEW


def test_no_call_spreads_out_a_tuple_that_it_has_just_written():
    spread = [
        f"{name}:{argument.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in node.args
        if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple)
    ]
    assert spread == []


def test_statements_to_a_ledger_are_in_its_room():
    cache = ORCHESTRATOR / "endpoints" / "cache.py"  # a database of its own
    found = [
        str(path.relative_to(ROOT))
        for path in sorted(ORCHESTRATOR.rglob("*.py"))
        if not path.is_relative_to(ORCHESTRATOR / "run" / "ledger") and path != cache
        if SQL.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_state_of_a_run_is_asked_for_by_name():
    asked = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(ORCHESTRATOR.rglob("*.py"))
        if path.relative_to(ORCHESTRATOR).parts[0] != "run"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if STATE_KEYS.search(line)
    ]
    assert asked == []


def documented():
    """(where, text): docstrings, strings under a name, help of options."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield f"{name}:{node.lineno}", str(node.value.value)
            elif isinstance(node, ast.keyword) and node.arg == "help":
                texts = (n for n in ast.walk(node.value) if isinstance(n, ast.Constant))
                yield from ((f"{name}:{n.lineno}", n.value) for n in texts if n.value)


def test_help_and_docstrings_begin_with_a_noun_or_an_imperative():
    wrong = [
        where for where, text in documented() if text.split()[:1] and text.split()[0] in OPENINGS
    ]
    assert wrong == []


def test_modules_are_short_and_so_are_lines():
    lines = {
        path: path.read_text(encoding="utf-8").splitlines()
        for path in sorted((ROOT / "services").rglob("*.py"))
    }
    assert [str(p.relative_to(ROOT)) for p, of in lines.items() if len(of) > LONGEST_MODULE] == []
    written = [len(line) for of in lines.values() for line in of if line.strip()]
    assert max(written) <= 100
    assert statistics.mean(written) <= MEAN_LINE
