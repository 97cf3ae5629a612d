"""Pages of the reference name all that the code has."""

import re
from dataclasses import fields

import pytest
from typer.main import get_command

from handbook.calls import PROTOS, call_page, read_blocks
from handbook.commands import command_page
from handbook.variables import documented_variables, read_variables, variable_page
from services.orchestrator.cli.main import app


def options(command, words=("mpa-orch",)):
    """Headings of commands, and the options and help of each."""
    yield f"## {' '.join(words)}", command.params
    for name, child in getattr(command, "commands", {}).items():
        yield from options(child, (*words, name))


def test_the_command_line_has_every_command_and_option():
    sections = dict(re.findall(r"^(## .*)\n((?:(?!## ).*\n)*)", command_page(), re.MULTILINE))
    found = dict(options(get_command(app)))
    assert set(sections) == set(found)
    assert len(found) > 50
    for heading, given in found.items():
        for option in given:
            if option.param_type_name == "option" and option.name != "help":
                assert all(name in sections[heading] for name in option.opts), (heading, option)
            elif option.param_type_name == "argument":
                assert f"| `{option.metavar}" in sections[heading], (heading, option.name)


@pytest.mark.parametrize("name", ["student", "teacher", "training", "types", "versions"])
def test_grpc_has_every_service_message_and_field(name):
    from importlib import import_module

    described = import_module(f"protos.mpa.v1.{name}_pb2").DESCRIPTOR
    read = {
        block.name: [entry.name for entry in block.entries]
        for block in read_blocks(PROTOS / f"{name}.proto")
    }
    wanted = {}
    for service in described.services_by_name.values():
        wanted[service.name] = [method.name for method in service.methods]
    for enum in described.enum_types_by_name.values():
        wanted[enum.name] = [value.name for value in enum.values]
    for message in described.message_types_by_name.values():
        add_message(wanted, message, "")
    assert {key: sorted(names) for key, names in read.items()} == {
        key: sorted(names) for key, names in wanted.items()
    }
    page = call_page()
    assert all(f"\n## {key}\n" in page for key in wanted)


def add_message(wanted, message, outer):
    if not message.GetOptions().map_entry:
        wanted[outer + message.name] = [field.name for field in message.fields]
        for nested in message.nested_types:
            add_message(wanted, nested, f"{outer}{message.name}.")
        for enum in message.enum_types:
            wanted[f"{outer}{message.name}.{enum.name}"] = [value.name for value in enum.values]


def test_comments_of_the_protos_come_with_their_fields(tmp_path):
    path = tmp_path / "small.proto"
    path.write_text(
        "// Two\n// lines.\nmessage Thing {\n  oneof source {\n    // The file.\n"
        "    bytes data = 1;\n  }\n  string name = 2;\n}\n"
    )
    (block,) = read_blocks(path)
    assert block.comment == "Two lines."
    assert [(entry.name, entry.comment) for entry in block.entries] == [
        ("data", "The file."),
        ("name", ""),
    ]


def test_settings_have_every_variable_that_a_service_reads():
    page = variable_page()
    read = read_variables()
    assert len(read["STUDENT"]) > 80
    for role, names in read.items():
        for name in names:
            assert f"`{name}`" in page, (role, name)
    assert documented_variables()["HTTP_HEADERS_S"][0] == "10"
    assert documented_variables()["HTTP_BODY_S"][0] == "60"
    assert "`MPA_KEY_FILE`" in page


def test_http_has_every_path():
    from handbook.routes import route_page
    from services.rpc.access.roles import NEEDED

    page = route_page()
    paths = [name for name in NEEDED if re.match(r"/(v1|try|metrics|openapi)", name)]
    assert len(paths) > 7
    for name in paths:
        assert f"| `{name.replace(':path', '')}` |" in page, name
    assert "\n## POST /v1/vqa\n" in page


def test_the_client_has_every_class_field_and_method():
    from handbook.clients import client_page
    from services.rpc import client

    page = client_page()
    for name in client.__all__:
        assert f"\n## {name}\n" in page
    for field in fields(client.AnswerReply):
        assert f"`{field.name}: " in page
    assert "\n### StudentClient.answer\n" in page
    assert "await answer(picture" in page
