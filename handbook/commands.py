"""Reference of the command line, from the commands that `mpa-orch --help` describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from handbook.tables import code, plain, table
from services.orchestrator.cli.main import app

_USUAL = {"help", "install_completion", "show_completion"}


def command_page() -> str:
    """Every command with its arguments and options."""
    group = get_command(app)
    parts = [
        "# Command line\n",
        "Each command shows the same with `--help`. Options of `mpa-orch` itself come before the "
        "name of the command.\n",
    ]
    for words, command in _walk(group, ("mpa-orch",)):
        parts += [f"## {' '.join(words)}\n", _described(words, command)]
    return "\n".join(parts)


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not command.hidden:
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            yield from _walk(child, (*words, name))


def _described(words: tuple[str, ...], command: Any) -> str:
    context = command.context_class(command, info_name=" ".join(words))
    usage = command.get_usage(context).removeprefix("Usage: ")
    shown = [one for one in command.params if one.name not in _USUAL]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    parts = [_help(command), f"```text\n{' '.join(usage.split())}\n```\n"]
    if arguments:
        rows = [(code(one.metavar or one.name.upper()), _meaning(one)) for one in arguments]
        parts.append(table(("argument", "meaning"), rows))
    if options:
        rows = [(_names(one, context), _meaning(one)) for one in options]
        parts.append(table(("option", "meaning"), rows))
    if children := getattr(command, "commands", None):
        rows = [
            (f"[{code(name)}](#{'-'.join((*words, name))})", plain(child.get_short_help_str(200)))
            for name, child in children.items()
            if not child.hidden
        ]
        parts.append(table(("command", "purpose"), rows))
    return "\n".join(parts)


def _help(command: Any) -> str:
    """Paragraphs; an indented one is an example."""
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    return "\n\n".join(
        f"```text\n{text.strip()}\n```" if text.startswith(("    ", "mpa-orch ")) else plain(text)
        for text in paragraphs
    ) + ("\n" if paragraphs else "")


def _names(option: Any, context: Any) -> str:
    record: tuple[str, str] | None = option.get_help_record(context)
    return code(record[0]) if record else ", ".join(map(code, option.opts))


def _meaning(parameter: Any) -> str:
    parts = [plain(getattr(parameter, "help", None) or "")]
    if parameter.required:
        parts.append("Required.")
    default = parameter.default
    if getattr(parameter, "show_default", False) and default not in (None, "", False, [], ()):
        parts.append(f"Default: {code(str(getattr(default, 'value', default)))}.")
    if variable := getattr(parameter, "envvar", None):
        parts.append(f"Environment: {code(str(variable))}.")
    return " ".join(part for part in parts if part)


def listed_variables() -> list[tuple[str, str, str]]:
    """Environment variables of options: name, option and meaning, each once."""
    found = {}
    for _, command in _walk(get_command(app), ("mpa-orch",)):
        for one in command.params:
            for name in [one.envvar] if isinstance(one.envvar, str) else one.envvar or []:
                found[name] = (name, one.opts[0], plain(getattr(one, "help", None) or ""))
    return [found[name] for name in sorted(found)]
