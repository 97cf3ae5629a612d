"""Captions as the words that BLEU, ROUGE and CIDEr count.

The official PTB tokens come through Java, else Treebank tokens from NLTK. Both are lower-cased and
lose the same punctuation. Figures by Treebank tokens are close to the official ones, but differ,
so every report names its tokenizer.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.core import extras
from services.core.errors import InvalidInput, MpaError

JAR = "stanford-corenlp-3.4.1.jar"
DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
"""The list of the COCO caption evaluation: brackets survive, since tokens are lower-cased."""
TIMEOUT_S = 600.0

_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")
_DASH = re.compile("[–—]")


class Tokenizer(Protocol):
    @property
    def name(self) -> str:
        """Name for people, stored with every score."""

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        """The tokens of each text, separated by blanks."""


@dataclass(frozen=True, slots=True)
class PTB:
    """Stanford's PTBTokenizer, one process for all texts."""

    java: str
    jar: Path

    @property
    def name(self) -> str:
        return "PTB (Stanford CoreNLP 3.4.1)"

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        program = "edu.stanford.nlp.process.PTBTokenizer"
        options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
        command = [self.java, "-cp", str(self.jar), program, *options]
        # One line for each text: other line breaks in it become blanks.
        sent = "".join(" ".join(text.split()) + "\n" for text in texts)
        try:
            done = subprocess.run(
                command, input=sent.encode(), capture_output=True, timeout=TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MpaError(
                f"the PTB tokenizer failed ({error}): "
                f"check `{self.java} -cp {self.jar}`, or unset MPA_PTB_JAR"
            ) from error
        lines = done.stdout.decode().split("\n")[:-1]
        if len(lines) != len(texts):
            raise MpaError(
                f"the PTB tokenizer returned {len(lines):,} lines for {len(texts):,} captions"
            )
        return [_kept(line.split()) for line in lines]


@dataclass(frozen=True, slots=True)
class Treebank:
    """NLTK's tokenizer, with quotation marks and dashes separated as PTB does."""

    @property
    def name(self) -> str:
        return "Treebank (NLTK)"

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        from nltk.tokenize.treebank import TreebankWordTokenizer

        treebank = TreebankWordTokenizer()
        plain = (_QUOTED.sub(r"' \1 '", _DASH.sub(" -- ", text)) for text in texts)
        return [
            _kept(token.lower() for token in treebank.tokenize(text, convert_parentheses=True))
            for text in plain
        ]


def _kept(tokens: Iterable[str]) -> str:
    return " ".join(token for token in tokens if token not in DROPPED)


def find_tokenizer() -> Tokenizer:
    """The best tokenizer installed. Raises InvalidInput if there is none."""
    java = shutil.which("java")
    jar = _jar()
    if java and jar:
        return PTB(java, jar)
    if extras.is_installed("nltk"):
        return Treebank()
    raise InvalidInput(
        f"captions can't be scored without a tokenizer: {extras.install('captions')}, "
        f"or install Java and name {JAR} in MPA_PTB_JAR"
    )


def _jar() -> Path | None:
    """The file that MPA_PTB_JAR sets, else that of pycocoevalcap."""
    if named := os.environ.get("MPA_PTB_JAR"):
        if not Path(named).is_file():
            raise InvalidInput(
                f"MPA_PTB_JAR is {named!r}, and there is no such file: name {JAR}, or unset it",
                field="MPA_PTB_JAR",
            )
        return Path(named)
    brought = importlib.util.find_spec("pycocoevalcap")
    for folder in (brought.submodule_search_locations if brought else None) or ():
        if (found := Path(folder) / "tokenizer" / JAR).is_file():
            return found
    return None
