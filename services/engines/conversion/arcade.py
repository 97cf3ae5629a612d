"""Arcade100k, the tokenizer of StableLM 2: a tiktoken file as a fast tokenizer with equal ids."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from services.core.errors import InvalidInput
from services.engines.conversion.converted import read_json

FILE = "arcade100k.tiktoken"
END = "<|endoftext|>"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Words: as cl100k's, but each digit alone."""
SPECIAL = (
    END,
    *(f"<|fim_{part}|>" for part in ("prefix", "middle", "suffix", "pad")),
    "<gh_stars>",
    "<filename>",
    *(f"<issue_{part}>" for part in ("start", "comment", "closed")),
    *(f"<jupyter_{part}>" for part in ("start", "text", "code", "output")),
    "<empty_output>",
    *(f"<commit_{part}>" for part in ("before", "msg", "after")),
    "<reponame>",
    "<|endofprompt|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|pause|>",
    *(f"<|reg{number}|>" for number in range(8)),
    "<|extra0|>",
)
"""Special tokens in the order of their ids. One free id is between the ranks and them."""


def read(folder: Path, image_token: str) -> Any:
    """The checkpoint's tokenizer, with a token for the image. Raises InvalidInput: it has none.

    The image takes the free id before the special tokens, so all others keep theirs.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens(
            {"extra_special_tokens": [image_token]}, replace_extra_special_tokens=False
        )
        return tokenizer
    if not (folder / FILE).is_file():
        raise InvalidInput(
            f"{folder} holds neither tokenizer.json nor {FILE}: download the checkpoint again",
            field="source",
        )
    named = folder / "tokenizer_config.json"
    settings = read_json(named) if named.is_file() else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=_convert(folder / FILE, image_token),
        eos_token=_text(settings.get("eos_token")) or END,
        pad_token=_text(settings.get("pad_token")) or END,
        clean_up_tokenization_spaces=False,
    )


class _Arcade100k(TikTokenConverter):
    @staticmethod
    def load_tiktoken_bpe(path: str) -> dict[bytes, int]:
        try:
            lines = [line.split() for line in Path(path).read_bytes().splitlines() if line]
            return {base64.b64decode(token): int(rank) for token, rank in lines}
        except ValueError as error:
            raise InvalidInput(
                f"{path} is damaged ({error}): download the checkpoint again", field="source"
            ) from error


def _convert(file: Path, image_token: str) -> Tokenizer:
    # transformers doesn't annotate its converters.
    converter = _Arcade100k(  # type: ignore[no-untyped-call]
        str(file), pattern=PATTERN, extra_special_tokens=[image_token, *SPECIAL]
    )
    tokenizer: Tokenizer = converter.converted()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _text(token: object) -> str:
    """A token as tokenizer_config.json writes it: a string or an object with its `content`."""
    return str(token["content"] if isinstance(token, dict) else token or "")
