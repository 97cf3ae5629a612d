"""Pages that are made from the code when the site is built."""

from __future__ import annotations

from handbook.calls import call_page
from handbook.clients import client_page
from handbook.commands import command_page
from handbook.routes import route_page
from handbook.sources import ROOT
from handbook.variables import variable_page


def reference_pages() -> dict[str, str]:
    """Text of each page by its address in the site."""
    return {
        "reference/cli.md": command_page(),
        "reference/rpc.md": call_page(),
        "reference/http.md": route_page(),
        "reference/settings.md": variable_page(),
        "reference/client.md": client_page(),
        "decisions/index.md": _decisions(),
    }


def _decisions() -> str:
    """Title of each decision, which says what was decided."""
    lines = []
    for path in sorted((ROOT / "docs/decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})\n")
    about = "Choices that someone might undo, each with its reasons and measurements.\n"
    return f"# Decisions\n\n{about}\n{''.join(lines)}"
