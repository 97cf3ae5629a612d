"""Versions on a student's disk, for people and for tools."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from services.core.errors import NotFound
from services.core.memory import GIB
from services.orchestrator.reports.listing import print_rows, say
from services.rpc.client import StoredVersion, VersionList

COLUMNS = ("version", "pointer", "state", "GiB", "parent", "run", "recipe", "made (UTC)", "note")
FOLLOWER_COLUMNS = ("follower", "state", "version", "note")


def unneeded(found: VersionList, keep: int) -> list[str]:
    """Names of the versions that can be deleted, without the `keep` newest that may go live."""
    newest = [version.name for version in found.versions if not version.is_trial][-keep:]
    return [
        version.name
        for version in found.versions
        if version.name not in newest
        and not version.needed
        and version.state in ("unloaded", "failed")
    ]


def show_all(found: VersionList, console: Console, *, as_json: bool) -> None:
    if as_json:
        say(console, json.dumps(asdict(found), indent=2))
        return
    rows = [
        (
            version.name,
            _pointer(found, version),
            version.state,
            f"{version.size_bytes / GIB:.2f}",
            version.parent,
            version.run,
            version.recipe,
            version.created_at,
            version.error or _kind(version),
        )
        for version in found.versions
    ]
    total = sum(version.size_bytes for version in found.versions) / GIB
    caption = f"{len(rows)} versions, {total:.2f} GiB"
    print_rows(COLUMNS, rows, console, numbers=("GiB",), caption=caption)


def _kind(version: StoredVersion) -> str:
    adapter = f"adapter of {version.adapter_of}" if version.adapter_of else ""
    return ", ".join(filter(None, (adapter, "trial" if version.is_trial else "")))


def show_followers(found: VersionList, console: Console, *, as_json: bool) -> None:
    """The services that follow the store."""
    if as_json:
        say(console, json.dumps([asdict(follower) for follower in found.followers], indent=2))
        return
    rows = [
        (follower.address, follower.state, follower.version, follower.error)
        for follower in found.followers
    ]
    live = found.pointers.live
    print_rows(FOLLOWER_COLUMNS, rows, console, caption=f"{len(rows)} followers, live is {live}")


def show(found: VersionList, name: str, console: Console, *, as_json: bool) -> None:
    """Raises NotFound."""
    for version in found.versions:
        if version.name == name:
            _show(found, version, console, as_json=as_json)
            return
    names = ", ".join(version.name for version in found.versions) or "none"
    raise NotFound(f"there is no version {name!r}: there are {names}", reason="VERSION_NOT_FOUND")


def _show(found: VersionList, version: StoredVersion, console: Console, *, as_json: bool) -> None:
    if as_json:
        say(console, json.dumps(asdict(version), indent=2))
        return
    passed = f", {version.canaries_passed} passed" if version.canaries_passed >= 0 else ""
    lines = {
        "version": version.name,
        "pointer": _pointer(found, version),
        "state": version.state,
        "size": f"{version.size_bytes / GIB:.2f} GiB",
        "parent": version.parent,
        "adapter of": version.adapter_of,
        "run": version.run,
        "recipe": version.recipe,
        "made": f"{version.created_at} UTC" if version.created_at else "",
        "weights": version.weights_sha256,
        "canaries": f"{version.canaries}{passed}",
        "requests": str(version.leases) if version.leases else "",
        "training": ", ".join(f"{key} {value:g}" for key, value in version.metrics.items()),
        "trial": "only to be measured: it can't be promoted" if version.is_trial else "",
        "kept": version.needed,
        "fault": version.error,
    }
    for label, text in lines.items():
        if text:
            say(console, f"{label:<13}{text}")


def _pointer(found: VersionList, version: StoredVersion) -> str:
    pointers = found.pointers
    named = {
        "live": pointers.live,
        "candidate": pointers.candidate,
        "previous": pointers.previous,
    }
    return ", ".join(role for role, name in named.items() if name == version.name)
