"""Reference of the Python clients, from the docstrings of `services.rpc.client`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from handbook.tables import code
from services.core import errors
from services.rpc import client

_ROLES = re.compile(r"``([^`]+)``")


def client_page() -> str:
    """Every public class of the package, its fields and methods, then the errors."""
    parts = [
        "# Python client\n",
        "```python\nfrom services.rpc.client import StudentClient, TeacherClient\n```\n",
        "[examples](../source/examples/index.md) are whole programs. All calls are coroutines; a "
        "client is an `async with` context.\n",
    ]
    for name in client.__all__:
        parts += _class(name, getattr(client, name))
    parts += ["## Errors\n", f"```text\n{(errors.__doc__ or '').strip()}\n```\n"]
    return "\n".join(parts)


def _class(name: str, found: type[Any]) -> Iterator[str]:
    yield f"## {name}\n"
    yield _text(found)
    if fields := list(getattr(found, "__dataclass_fields__", {}).values()):
        yield "".join(f"- {code(f'{one.name}: {_annotation(one.type)}')}\n" for one in fields)
    for method, function in inspect.getmembers(found, _is_call):
        if not method.startswith("_"):
            yield f"### {name}.{method}\n"
            signature = inspect.signature(function).replace(
                return_annotation=inspect.Signature.empty
            )
            word = "await " if inspect.iscoroutinefunction(function) else ""
            yield f"```python\n{word}{method}{_signature(signature)}\n```\n"
            yield _text(function)


def _is_call(member: object) -> bool:
    return inspect.isfunction(member)


def _signature(signature: inspect.Signature) -> str:
    given = [one for name, one in signature.parameters.items() if name != "self"]
    shown = ["*"] if given and given[0].kind is inspect.Parameter.KEYWORD_ONLY else []
    for one in given:
        is_first = one.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in shown
        shown += (["*"] if is_first else []) + [str(one)]
    return f"({', '.join(dict.fromkeys(shown))})"


def _annotation(given: object) -> str:
    return given if isinstance(given, str) else getattr(given, "__name__", str(given))


def _text(documented: object) -> str:
    return (inspect.getdoc(documented) or "") + "\n"
