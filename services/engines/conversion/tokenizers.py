"""Tokenizers of published checkpoints, read without any code of the publisher's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer

from services.core.errors import InvalidInput
from services.engines.conversion.converted import read_json

_CONFIG = "tokenizer_config.json"
_SENTENCEPIECE = "tokenizer.model"
_CONTROL = 3
"""Kind of a piece that no text is split into."""
_FILES = (
    _SENTENCEPIECE,
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)


def read_tokenizer(folder: Path, named: Mapping[str, str]) -> Any:
    """The fast tokenizer of a checkpoint, with the ids of the published one.

    `named`: tokens that become attributes. Raises InvalidInput: it can't be read, or a token would
    have another id.
    """
    published = read_json(folder / _CONFIG)
    added = {
        int(number): token["content"]
        for number, token in published.get("added_tokens_decoder", {}).items()
    }
    with TemporaryDirectory() as plain:
        for name in _FILES:
            if (folder / name).is_file():
                shutil.copy2(folder / name, plain)
        Path(plain, _CONFIG).write_text(json.dumps(_without_code(published)), encoding="utf-8")
        try:
            if (model := Path(plain, _SENTENCEPIECE)).is_file():
                _name_placeholders(model, added)
            tokenizer: Any = AutoTokenizer.from_pretrained(plain, extra_special_tokens=dict(named))
        except Exception as error:
            raise InvalidInput(
                f"the tokenizer in {folder} can't be converted: {error}", field="source"
            ) from error
    found = dict(zip(added, tokenizer.convert_tokens_to_ids(list(added.values())), strict=True))
    for number, content in added.items():
        if found[number] != number:
            raise InvalidInput(
                f"the tokenizer in {folder} can't be converted: {content!r} would be token "
                f"{found[number]} instead of {number}",
                field="source",
            )
    return tokenizer


def _name_placeholders(path: Path, added: Mapping[int, str]) -> None:
    """Gives pieces that were placeholders in training their names.

    Otherwise the placeholders' old names become tokens behind the vocabulary.
    """
    from sentencepiece import sentencepiece_model_pb2 as messages

    # The generated messages have no types.
    model = messages.ModelProto.FromString(path.read_bytes())  # type: ignore[attr-defined]
    for number, content in added.items():
        if number < len(model.pieces) and model.pieces[number].piece != content:
            model.pieces[number].piece = content
            model.pieces[number].type = _CONTROL
    path.write_bytes(model.SerializeToString())


def _without_code(published: dict[str, Any]) -> dict[str, Any]:
    """Drops a class of the publisher's: the tokenizer is read as a sentencepiece model.

    Such classes are slow tokenizers, which begin a text with "<s>" unless told otherwise.
    """
    dropped = ("auto_map", "chat_template")
    kept = {key: value for key, value in published.items() if key not in dropped}
    if "auto_map" in published:
        return {"add_bos_token": True, **kept, "tokenizer_class": "TokenizersBackend"}
    return kept
