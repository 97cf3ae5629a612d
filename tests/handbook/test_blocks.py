"""Code blocks of documents: each is executed, or checked as its mark says."""

import re
from pathlib import Path

import pytest

from handbook.blocks import MARKS, CodeBlock, read_blocks
from handbook.instructions import command_faults, faults
from handbook.sources import ROOT

BLOCKS = [block for path in sorted((ROOT / "docs").rglob("*.md")) for block in read_blocks(path)]
OTHERS = [block for name in ("README.md", "CONTRIBUTING.md") for block in read_blocks(ROOT / name)]
"""Blocks of documents without marks; tests/test_documents.py has more about them."""


def name_of(block):
    return f"{block.path.relative_to(ROOT)}:{block.line}"


def test_every_block_has_a_known_mark():
    assert [name_of(block) for block in BLOCKS if block.mark not in MARKS] == []
    assert len(BLOCKS) > 80


def test_blocks_are_right_as_far_as_it_shows():
    found = {name_of(block): list(faults(block)) for block in (*BLOCKS, *OTHERS)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("text", "mark", "fault"),
    [
        ("mpa-orch alihn photos --task vqa", "parsed", "has no command"),
        ("mpa-orch align photos --task vqa --rouns 2", "parsed", "has no option --rouns"),
        ("mpa-orch align --task vqa", "parsed", "lacks an argument"),
        ("mpa-orch align photos", "parsed", "lacks --task"),
        ("mpa-orch align photos --task", "parsed", "has no value"),
        ("mpa-orch rounds a b", "parsed", "too many arguments"),
        ("make demos", "parsed", "no target"),
        ("python -m benchmarks.nothing", "parsed", "no module"),
        ('pip install ".[serv]"', "parsed", "no extra"),
        ("kubectl apply -k deploy/kubernetes/gpus", "cluster", "there is no"),
        ("import os\nos.(", "parsed", "invalid syntax"),
        ("ls", "gpu", "nothing in it needs"),
        ("make test", "text", "more than text"),
    ],
)
def test_faults_are_found(text, mark, fault):
    found = list(faults(CodeBlock(Path("x.md"), 1, mark, "", text)))
    assert any(fault in one for one in found), found


def test_commands_with_optional_parts_are_right():
    words = "verdict runs/demo [--margin 5] [--json] ...".split()
    assert list(command_faults(words)) == []


def test_fenced_and_indented_blocks_are_read_with_their_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "Text\n\n<!-- block: run -->\n\n    one\n\n    two\n\nText\n\n```toml\nx = 1\n```\n\n"
        "- a list\n\n    that continues\n"
    )
    found = [(block.mark, block.language, block.text, block.line) for block in read_blocks(path)]
    assert found == [("run", "", "one\n\ntwo", 5), ("", "toml", "x = 1", 11)]


def run_blocks():
    """The blocks that run, by document."""
    found = {}
    for block in BLOCKS:
        if block.mark == "run":
            found.setdefault(str(block.path.relative_to(ROOT)), []).append(block)
    return found


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Address of a teacher for all documents."""
    from tests.handbook.stage import role

    with role("teacher", tmp_path_factory.mktemp("teacher")) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("blocks", run_blocks().values(), ids=run_blocks())
def test_blocks_run(blocks, tmp_path, request):
    """The blocks of a document one after the other: each finds what the others have made."""
    from tests.handbook.stage import staged

    text = "\n".join(block.text for block in blocks)
    with staged(tmp_path, text, lambda: request.getfixturevalue("teacher")) as stage:
        for block in blocks:
            for run in re.findall(r"(runs/\w+).*--reviewed|audit reviews (runs/\w+)", block.text):
                stage.correct_one(next(filter(None, run)))
            stage.run(stage.filled(block.text))
