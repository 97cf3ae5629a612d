"""Reference of settings: environment variables that the code reads, with their documented text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from handbook.commands import listed_variables
from handbook.sources import ROOT
from handbook.tables import code, table
from services.environment import Environment, pin_devices
from services.rpc.logs import LogSettings
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings

_ROW = re.compile(r"^\| (`[A-Z][^|]*)\|((?:[^|]|\\\|)*)\|(.*)\|$", re.MULTILINE)
_NAME = re.compile(r"`(?!MPA_)([A-Z_]+)`")


class _Read(dict[str, str]):
    """Variables that remember which of them were looked up."""

    def __init__(self, **given: str) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        self.names.add(name)
        return super().get(name, default)


def read_variables() -> dict[str, set[str]]:
    """Names of the variables that each service reads, by role."""
    given = {
        "TEACHER": _Read(
            MPA_TEACHER_ENGINE="openai", MPA_TEACHER_MODEL="gpt-4o", MPA_TEACHER_BATCH="1"
        ),
        "STUDENT": _Read(MPA_STUDENT_UPLOADS_MAX_GIB="1"),
    }
    for role, variables in given.items():
        pin_devices(f"MPA_{role}_", variables)
        LogSettings.from_environment(Environment(f"MPA_{role}_", variables))
    TeacherSettings.from_env(given["TEACHER"])
    StudentSettings.from_env(given["STUDENT"])
    return {role: variables.names for role, variables in given.items()}


def documented_variables() -> dict[str, tuple[str, str]]:
    """Default and meaning of each name in the tables of docs/services.md, without prefix."""
    return {
        name: (default, meaning)
        for names, default, meaning in _rows()
        for name, default in zip(names, _defaults(default, len(names)), strict=True)
    }


def variable_page() -> str:
    """Every environment variable of the two services, then those of `mpa-orch`."""
    read = read_variables()
    documented = documented_variables()
    names = sorted({name.split("_", 2)[2] for role in read.values() for name in role if _own(name)})
    rows = []
    for name in names:
        full = [f"MPA_{role}_{name}" for role in read if f"MPA_{role}_{name}" in read[role]]
        default, meaning = documented[name]
        rows.append((", ".join(map(code, full)), default, meaning))
    foreign = sorted(name for role in read.values() for name in role if not _own(name))
    parts = [
        "# Settings\n",
        "A service reads its settings from the environment when it starts. Its rows are those of "
        "[services](../services.md), in the order of the alphabet.\n",
        "## Settings of the services\n",
        table(("variable", "default", "meaning"), rows),
        "## Variables of others that the services read\n",
        "".join(f"- {code(name)}\n" for name in foreign),
        "\n## Variables of the command line\n",
        "Each stands for an option that is given with every command.\n",
        table(
            ("variable", "option", "meaning"),
            [(code(name), code(option), help) for name, option, help in listed_variables()],
        ),
    ]
    return "\n".join(parts)


def _own(name: str) -> bool:
    return name.startswith(("MPA_TEACHER_", "MPA_STUDENT_"))


def _rows() -> Iterator[tuple[list[str], str, str]]:
    document = (ROOT / "docs/services.md").read_text(encoding="utf-8")
    for names, default, meaning in _ROW.findall(document):
        yield _NAME.findall(names), default.strip(), _from_reference(meaning.strip())


def _defaults(cell: str, count: int) -> list[str]:
    """One default for each name of a row, or the same one for all."""
    each = [part.strip() for part in cell.split(",")]
    return each if len(each) == count else [cell] * count


def _from_reference(text: str) -> str:
    """Text with links as they are from a page of reference/."""
    here = re.sub(r"\]\(#", "](../services.md#", text)
    return re.sub(r"\]\((?!\.\./|\w+:)", "](../", here)
