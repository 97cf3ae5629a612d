"""Captions as the words that BLEU, ROUGE and CIDEr count: the official PTB tokens through Java, else NLTK's Treebank tokens.

Both are lower-cased and lose the same punctuation. Figures by Treebank tokens are close to the official ones, not the same, so
every report names its tokenizer.
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
DROPPED = frozenset(
    {
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
    }
)
"""As in the COCO caption evaluation: brackets survive, since lower-cased they are no longer in the list."""
TIMEOUT_S = 600.0

_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")
_DASH = re.compile("[–—]")


class Tokenizer(Protocol):
    @property
    def name(self) -> str:
        """For people, and stored with every score."""

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        """Each text as its tokens, with blanks between them."""


@dataclass(frozen=True, slots=True)
class PTB:
    """Stanford's PTBTokenizer, one process for all texts."""

    java: str
    jar: Path

    @property
    def name(self) -> str:
        return "PTB (Stanford CoreNLP 3.4.1)"

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
        command = [
            self.java,
            "-cp",
            str(self.jar),
            "edu.stanford.nlp.process.PTBTokenizer",
            *options,
        ]
        # A line is a text, whatever else counts as a line break.
        sent = "".join(" ".join(text.split()) + "\n" for text in texts)
        try:
            done = subprocess.run(
                command, input=sent.encode(), capture_output=True, timeout=TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MpaError(
                f"the PTB tokenizer failed ({error}): look at `{self.java} -cp {self.jar}`, or unset MPA_PTB_JAR"
            ) from error
        lines = done.stdout.decode().split("\n")[:-1]
        if len(lines) != len(texts):
            raise MpaError(
                f"the PTB tokenizer returned {len(lines):,} lines for {len(texts):,} captions"
            )
        return [_kept(line.split()) for line in lines]


@dataclass(frozen=True, slots=True)
class Treebank:
    """NLTK's, with quotation marks and dashes set apart as PTB does."""

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
    """Raises InvalidInput where there is none."""
    java, jar = shutil.which("java"), _jar()
    if java and jar:
        return PTB(java, jar)
    if extras.is_installed("nltk"):
        return Treebank()
    raise InvalidInput(
        f"captions can't be scored without a tokenizer: {extras.install('captions')}, "
        f"or install Java and name {JAR} in MPA_PTB_JAR"
    )


def _jar() -> Path | None:
    """MPA_PTB_JAR, else the one that pycocoevalcap brings."""
    if named := os.environ.get("MPA_PTB_JAR"):
        if not Path(named).is_file():
            raise InvalidInput(
                f"MPA_PTB_JAR is {named!r}: there is no such file", field="MPA_PTB_JAR"
            )
        return Path(named)
    brought = importlib.util.find_spec("pycocoevalcap")
    for folder in (brought.submodule_search_locations if brought else None) or ():
        if (found := Path(folder) / "tokenizer" / JAR).is_file():
            return found
    return None
