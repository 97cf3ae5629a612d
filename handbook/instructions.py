"""Faults of code blocks that show without running them: unknown commands, options, files."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml
from typer.main import get_command

from handbook.blocks import CodeBlock
from handbook.sources import ROOT
from services.orchestrator.cli.main import app

_TRUE_OF = {
    "gpu": re.compile(r"vllm|VLLM|_DEVICES|PRESET|gpu|table1|mpa-orch|make bench"),
    "cluster": re.compile(r"kubectl|docker|bentoml|ray |ssh|/shared"),
    "service": re.compile(
        r"OPENAI|gpt-4o|label-studio|base.url|HOST:PORT|gpu\d:|https?://|localhost|\.json|sleep|COCO"
    ),
}
"""Words of which a block with such a mark has at least one."""
_PYTHON = re.compile(r"^(import|from) |^\w+ = \w+\.|^print\(", re.MULTILINE)
_VARIABLE = re.compile(r"^\w+=")
_END = re.compile(r"^[|&>]|;$")


def faults(block: CodeBlock) -> Iterator[str]:
    """Faults of a block, as text for people; none of shown text."""
    if block.mark in _TRUE_OF and not _TRUE_OF[block.mark].search(block.text):
        yield f"nothing in it needs what its mark says ({block.mark})"
    if block.mark == "text":
        if re.search(r"^(mpa-orch|make|pip|python3?|kubectl|docker) ", block.text, re.MULTILINE):
            yield "it has commands, so it is more than text"
    elif _PYTHON.search(block.text):
        yield from _python_faults(block.text)
    elif block.language == "toml" or re.search(r"^(arms|draw) = ", block.text, re.MULTILINE):
        yield from _raised(lambda: tomllib.loads(block.text), tomllib.TOMLDecodeError)
    elif re.match(r"(- |\w+:\n)", block.text):
        yield from _raised(lambda: yaml.safe_load(block.text), yaml.YAMLError)
    else:
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from _line_faults(line)


def _python_faults(text: str) -> Iterator[str]:
    yield from _raised(lambda: compile(text, "document", "exec"), SyntaxError)


def _raised(read: Any, kind: type[Exception]) -> Iterator[str]:
    try:
        read()
    except kind as error:
        yield str(error)


def _line_faults(line: str) -> Iterator[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        yield f"{line!r}: {error}"
        return
    while words and _VARIABLE.match(words[0]):
        words = words[1:]
    while words[:1] in (["while"], ["exec"]):
        words = words[1:]
    if words[:1] == ["mpa-orch"]:
        yield from command_faults(words[1:])
    elif words[:1] == ["make"]:
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        if words[1] not in targets:
            yield f"the Makefile has no target {words[1]}"
    elif words[:1] in (["python"], ["python3"]) and words[1:2] == ["-m"]:
        if words[2] != "venv" and importlib.util.find_spec(words[2]) is None:
            yield f"there is no module {words[2]}"
    elif words[:2] == ["pip", "install"]:
        yield from _extra_faults(words)
    for word in words:
        is_ours = re.match(r"(deploy|experiments|services|examples|\.ci)/\w", word)
        if is_ours and not (ROOT / word).exists():
            yield f"there is no {word}"


def _extra_faults(words: list[str]) -> Iterator[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for named in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
        for extra in set(named.split(",")) - set(extras["optional-dependencies"]):
            yield f"there is no extra {extra}"


def command_faults(words: list[str]) -> Iterator[str]:
    """Faults of the arguments of `mpa-orch`: unknown command or option, a value that is missing.

    `[...]` around an option says that it may be left out, and `...` stands for further ones.
    """
    ended = next((n for n, word in enumerate(words) if _END.search(word)), len(words))
    words = [
        word.strip("[]") if word.startswith("[-") or word[-1:] == "]" else word
        for word in words[:ended]
    ]
    is_open = "..." in words
    command: Any = get_command(app)
    name = "mpa-orch"
    while getattr(command, "commands", None):
        if not words or words[0] not in command.commands:
            if words and words[0].startswith("-"):
                break
            yield f"{name} has no command {words[:1]}"
            return
        name = f"{name} {words[0]}"
        command = command.commands[words[0]]
        words = words[1:]
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    given: list[str] = []
    free = 0
    while words:
        word, *words = words
        option = options.get(word.partition("=")[0])
        if not word.startswith("-") or word == "-":
            free += word != "..."
        elif word == "--help":
            return
        elif option is None:
            yield f"{name} has no option {word}"
        else:
            given.append(option.name)
            if not option.is_flag and "=" not in word:
                if not words:
                    yield f"{name} {word} has no value"
                words = words[1:]
    required = [one for one in command.params if one.required]
    missing = {one.opts[0] for one in required if one.param_type_name == "option"}
    missing -= {one.opts[0] for one in command.params if one.name in given}
    if missing and not is_open:
        yield f"{name} lacks {', '.join(sorted(missing))}"
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if not is_open and free < sum(one in arguments for one in required):
        yield f"{name} lacks an argument"
    if len(arguments) < free and all(one.nargs == 1 for one in arguments):
        yield f"{name} has too many arguments"
