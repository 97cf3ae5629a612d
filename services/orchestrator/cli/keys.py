"""`mpa-orch keys`: keys of a service's callers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli.amounts import seconds, size_bytes
from services.orchestrator.cli.exits import exit_codes
from services.rpc.access.roles import AccessRole

app = typer.Typer(no_args_is_help=True)
LIMITS = "Limits (default: the service's)"

KeyName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the caller, for people and for the log.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")]
KeyRoles = Annotated[
    list[AccessRole],
    typer.Option(
        "--role",
        metavar="|".join(AccessRole),
        help="Right of the key; repeat it for several (docs/security.md).",
    ),
]
KeysFile = Annotated[
    Path,
    typer.Option(
        "--file",
        envvar=["MPA_STUDENT_KEYS", "MPA_TEACHER_KEYS"],
        metavar="FILE",
        help="File of keys. A running service reads it again within a second.",
    ),
]
Expires = Annotated[
    str,
    typer.Option(
        "--expires",
        metavar="AGE",
        help="Time until the key expires, such as 90d or 12h. Default: never.",
        show_default=False,
        callback=o.checked(seconds),
    ),
]
CertificateName = Annotated[
    str,
    typer.Option(
        "--certificate",
        metavar="NAME",
        help="Common name or alternative name of a client certificate. It replaces the key.",
    ),
]
RequestsPerMinute = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=LIMITS, help="Requests per minute.")
]
Concurrent = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=LIMITS, help="Requests under way.")
]
BytesPerMinute = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=LIMITS,
        help="Bytes of images per minute, such as 500MB.",
        callback=o.checked(size_bytes),
    ),
]
PixelsPerMinute = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=LIMITS, help="Pixels per minute.")
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=LIMITS,
        help="Size of the data sets that the key has uploaded, such as 20GiB.",
        callback=o.checked(size_bytes),
    ),
]
TrainingsPerDay = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=LIMITS, help="Trainings in 24 hours.")
]
FILE = Path(".mpa/keys.json")


@app.command()
def add(
    name: KeyName,
    role: KeyRoles,
    file: KeysFile = FILE,
    expires: Expires = "",
    certificate: CertificateName = "",
    requests_per_minute: RequestsPerMinute = 0,
    concurrent: Concurrent = 0,
    bytes_per_minute: BytesPerMinute = "",
    pixels_per_minute: PixelsPerMinute = 0,
    storage: Storage = "",
    trainings_per_day: TrainingsPerDay = 0,
) -> None:
    """Make a key, and print it.

    It is shown this once: the file holds only its hash.
    """
    from services.rpc.access.keys import KeyLimits, add_key, new_key

    with exit_codes():
        limits = KeyLimits(
            requests_per_minute=requests_per_minute,
            concurrent=concurrent,
            bytes_per_minute=size_bytes(bytes_per_minute) if bytes_per_minute else 0,
            pixels_per_minute=pixels_per_minute,
            storage_bytes=size_bytes(storage) if storage else 0,
            trainings_per_day=trainings_per_day,
        )
        lifetime_s = seconds(expires) if expires else 0.0
        key, token = new_key(
            name, [str(each) for each in role], lifetime_s=lifetime_s, certificate=certificate
        )
        add_key(file, replace(key, limits=limits))
        typer.echo(f"key {key.id} ({name}) is in {file}", err=True)
        if token:
            typer.echo("keep it now; it is not stored and can't be shown again:", err=True)
            typer.echo(token)


@app.command("list")
def list_keys(file: KeysFile = FILE, as_json: o.Json = False) -> None:
    """List the keys of a file, without the keys themselves."""
    from rich.console import Console

    from services.orchestrator.reports import keys as report
    from services.rpc.access.keys import read_keys

    with exit_codes():
        found = read_keys(file)
        if as_json:
            typer.echo(json.dumps([report.described(key) for key in found], indent=2))
        else:
            report.show(found, Console())


@app.command()
def revoke(id: KeyId, file: KeysFile = FILE) -> None:
    """Revoke a key. Running services refuse it within a second, and end its open calls."""
    from services.rpc.access.keys import revoke_key

    with exit_codes():
        key = revoke_key(file, id)
        typer.echo(f"key {key.id} ({key.name}) is revoked")
