"""Reference of HTTP, from the student's OpenAPI document and the table of roles."""

from __future__ import annotations

import json
from typing import Any

from handbook.tables import code, plain, table
from services.rpc.access.roles import NEEDED, OPEN
from services.rpc.http.completions.openapi import openapi


def route_page() -> str:
    """Every route of both services."""
    document = openapi()
    roles = {
        name: needed for name, needed in NEEDED.items() if not name.startswith(("/mpa.", "/g"))
    }
    rows = [
        (code(name.replace(":path", "")), " or ".join(sorted(code(str(one)) for one in needed)))
        for name, needed in roles.items()
    ]
    rows += [(code(name), "none") for name in sorted(OPEN) if name.count(".") < 2]
    parts = [
        "# HTTP\n",
        "The teacher has `/v1/annotate`, the student the other paths below `/v1`. Both have health "
        "and metrics. [Services](../services.md#http) has headers, limits and errors; [OpenAI's "
        "API](../endpoint.md) the fields of chat completions.\n",
        "## Paths and roles\n",
        table(("path", "role of the key, if the service has keys"), rows),
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                parts += _operation(f"{method.upper()} {path}", operation)
    parts += ["## Fields\n", "Objects that the routes above name.\n"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if schema.get("properties"):
            parts += [f"### {name}\n", plain(schema.get("description", "")) + "\n", _fields(schema)]
    return "\n".join(parts)


def _operation(name: str, operation: dict[str, Any]) -> list[str]:
    parts = [f"## {name}\n", f"{plain(operation['summary'])}.\n"]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts += [f"Request, {code(kind)}: {_type(content['schema'])}\n"]
        if content["schema"].get("properties"):
            parts.append(_fields(content["schema"]))
    rows = [
        (
            status,
            plain(reply.get("description", "")),
            ", ".join(map(code, reply.get("content", {}))),
        )
        for status, reply in operation["responses"].items()
    ]
    return [*parts, table(("status", "meaning", "content"), rows)]


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (
            code(name),
            _type(field),
            ("Required. " if name in required else "") + plain(field.get("description", "")),
        )
        for name, field in schema["properties"].items()
    ]
    return table(("field", "type", "meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_type(one) for one in schema.get("anyOf") or schema["oneOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "const" in schema or "enum" in schema:
        values = schema.get("enum") or [schema["const"]]
        return " or ".join(code(json.dumps(value)) for value in values)
    return str(schema.get("type", "any value"))
