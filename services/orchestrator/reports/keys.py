"""Keys of a service's callers as a table for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from services.rpc.access.keys import AccessKey


def show(keys: Sequence[AccessKey], console: Console) -> None:
    table = Table()
    for column in ("id", "name", "roles", "created", "expires", "state", "limits"):
        table.add_column(column, overflow="fold")
    for key in keys:
        row = described(key)
        limits = ", ".join(f"{name} {value:,}" for name, value in row["limits"].items() if value)
        roles = ", ".join(row["roles"])
        name = f"{key.name} (certificate {key.certificate})" if key.certificate else key.name
        table.add_row(key.id, name, roles, row["created"], row["expires"], row["state"], limits)
    console.print(table)


def described(key: AccessKey) -> dict[str, Any]:
    """A key for programs, without its hash."""
    fault = key.fault(time.time())
    return {
        "id": key.id,
        "name": key.name,
        "certificate": key.certificate,
        "roles": sorted(key.roles),
        "created": _date(key.created),
        "expires": _date(key.expires),
        "state": fault.removeprefix("KEY_").lower() or "valid",
        "limits": asdict(key.limits),
    }


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(when)) + " UTC" if when else "never"
