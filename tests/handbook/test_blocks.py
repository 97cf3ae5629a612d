"""Code blocks of documents: each is executed, or checked as its mark says."""

import json
import os
import subprocess
import sys
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two runs, one of which is reviewed."""
    from services.core.reviews import Review, ReviewVerdict
    from services.orchestrator.run.ledger.review_book import ReviewBook
    from tests.orchestrator.ui.exhibits import make_run

    folder = tmp_path_factory.mktemp("documents")
    for name in ("demo", "first"):
        make_run(folder / "runs" / name, folder / "pool")
        book = ReviewBook(folder / "runs" / name / "reviews.sqlite")
        label = ("0" * 64, "what is it?", "a cat")
        book.add(0, label, Review("Ada", ReviewVerdict.CORRECT, "a dog"))
        book.close()
        sample = {"question": label[1], "answer": "a dog", "reviewed": "corrected"}
        (folder / "runs" / name / "parity_set.jsonl").write_text(json.dumps(sample) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "run"], ids=name_of)
def test_blocks_run(block, folder):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euc", block.text], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
