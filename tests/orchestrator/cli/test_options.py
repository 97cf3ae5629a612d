"""The help of every command: each text, and the options that people see first."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.orchestrator.cli.main import app

OPENINGS = ("Of", "Those", "What", "As")
"""First words of a text that names nothing."""
MANY = 15
"""Options beyond which a help groups them."""
ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md"))]


def commands(command, path=()):
    """(path, command) of the program, its groups and its commands."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def named(path) -> str:
    return " ".join(path) or "mpa-orch"


@pytest.mark.parametrize("path", ALL, ids=named)
def test_every_text_is_a_sentence_that_begins_with_a_noun_or_an_imperative(path):
    command = ALL[path]
    texts = {named(path): command.help, **{each.name: each.help for each in command.params}}
    for name, text in texts.items():
        assert text, name
        assert text.split()[0] not in OPENINGS, (name, text)
        assert text[0].isupper() or text.startswith("gRPC"), (name, text)
        assert text.rstrip().endswith((".", "PORT")), (name, text)


@pytest.mark.parametrize("path", ALL, ids=named)
def test_options_that_take_a_value_name_it(path):
    for each in ALL[path].params:
        if each.param_type_name == "option" and not each.is_flag:
            assert each.metavar or "Enum" in str(type(each.type_descriptor.annotation)), each.name


@pytest.mark.parametrize("path", ALL, ids=named)
def test_the_help_of_many_options_shows_a_few_first(path):
    options = [each for each in ALL[path].params if each.param_type_name == "option"]
    first = [each for each in options if not each.rich_help_panel]
    assert len(first) <= MANY
    if len(options) > MANY:
        assert len({each.rich_help_panel for each in options}) > 3
    if path:
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0
        panels = [each.rich_help_panel for each in options if each.rich_help_panel]
        places = [shown.output.index(f"─ {panel} ─") for panel in dict.fromkeys(panels)]
        assert places == sorted(places)
        assert not places or shown.output.index("─ Options ─") < places[0]


def test_the_help_of_the_program_begins_with_a_command_to_try():
    shown = CliRunner().invoke(app, ["--help"]).output
    assert (
        0 < shown.index("mpa-orch align IMAGES --task vqa --local") < shown.index("─ Start here ─")
    )
    assert shown.index("align  ") < shown.index("experiment  ")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_and_options_of_the_documents_exist(document):
    for words in re.findall(r"mpa-orch ([^\n`#|]+)", document.read_text(encoding="utf-8")):
        path: tuple[str, ...] = ()
        for word in words.split():
            if (*path, word) not in ALL:
                break
            path = (*path, word)
        known = {name for each in ALL[path].params for name in each.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)\[?(--[\w-]+)", words)) <= known, words
