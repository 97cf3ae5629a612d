import json
import os
import sys
from pathlib import Path

import pytest

from services.core.errors import InvalidInput, MpaError
from services.core.metrics import CORPUS_METRICS
from services.orchestrator.scoring.tokens import PTB, Treebank, find_tokenizer

VECTORS = Path(__file__).parents[2] / "core/caption_vectors.jsonl"


@pytest.mark.parametrize(
    ("metric", "tolerance"), [("bleu1", 0.02), ("rouge_l", 0.01), ("cider", 0.2)]
)
def test_treebank_tokens_stay_close_to_the_official_figures(metric, tolerance):
    """The worst case of raw captions over all corpora; the official figures use PTB tokens."""
    for row in map(json.loads, VECTORS.read_text().splitlines()):
        if metric in row:
            tokens = Treebank().tokenize(
                [*row["captions"], *(text for texts in row["accepted"] for text in texts)]
            )
            given, rest = tokens[: len(row["captions"])], iter(tokens[len(row["captions"]) :])
            references = [[next(rest) for _ in texts] for texts in row["accepted"]]
            assert CORPUS_METRICS[metric](given, references) == pytest.approx(
                row[metric], abs=tolerance
            )


def test_treebank_drops_what_ptb_drops():
    assert Treebank().tokenize(["A 'red' sign (left) – it says: \"STOP!\"", ""]) == [
        "a red sign -lrb- left -rrb- it says stop",
        "",
    ]


@pytest.fixture
def java(tmp_path):
    """A stand-in for Java that lower-cases its input and separates full stops."""
    program = tmp_path / "java"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "sys.stdout.write(sys.stdin.read().lower().replace('.', ' .'))\n"
    )
    program.chmod(0o755)
    return program


def test_ptb_reads_all_texts_at_once_and_one_to_one(java, tmp_path):
    assert PTB(str(java), tmp_path / "x.jar").tokenize(["A Dog.", "", "two\nlines\u2028here"]) == [
        "a dog",
        "",
        "two lines here",
    ]


def test_ptb_that_fails_says_so(java, tmp_path):
    java.write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    with pytest.raises(MpaError, match="PTB tokenizer failed"):
        PTB(str(java), tmp_path / "x.jar").tokenize(["a"])
    java.write_text(f"#!{sys.executable}\n")
    with pytest.raises(MpaError, match="0 lines for 1 captions"):
        PTB(str(java), tmp_path / "x.jar").tokenize(["a"])


def test_ptb_is_taken_where_it_is_there(java, tmp_path, monkeypatch):
    jar = tmp_path / "stanford-corenlp-3.4.1.jar"
    jar.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MPA_PTB_JAR", str(jar))
    assert find_tokenizer() == PTB(str(java), jar)
    monkeypatch.setenv("MPA_PTB_JAR", str(tmp_path / "none.jar"))
    with pytest.raises(InvalidInput, match="MPA_PTB_JAR"):
        find_tokenizer()


def test_treebank_is_taken_without_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MPA_PTB_JAR", raising=False)
    assert find_tokenizer() == Treebank()
