"""A checkpoint on disk: find it, fingerprint it, refuse one that must not be loaded.

Hashes take seconds for each GB when a file is new (file_hashes.py): compute them in a thread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput, NotFound
from services.core.presets import CONVERTED, converting
from services.engines.file_hashes import HASHES
from services.files import write_atomically

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONFIGS = ("config.json", "generation_config.json")
_TEXT = ("tokenizer*", "chat_template*", "*processor*", "vocab.json", "merges.txt")
_IDENTITY = ("fake.json", *_CONFIGS, *_TEXT)
_REST = (*_CONFIGS, "*.py", "adapter/*")
_PROCESSOR = tuple(
    "preprocessor_config.json processor_config.json tokenizer.json tokenizer_config.json".split()
)
IMAGE_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
"""Files that may hold the configuration of an image processor; the first one that does, counts."""
_PIXELS = tuple(
    "size min_pixels max_pixels max_image_size crop_size max_patches patch_size merge_size".split()
)


def resolve(model: str, *, with_bin: bool = False) -> Path:
    """Folder of a model named by folder or hub id ("Qwen/Qwen2-VL-2B-Instruct").

    A hub id may end in "@" and a commit, tag or branch; the model is downloaded if necessary.
    `with_bin`: with PyTorch's own weight files, which only conversions read.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    hub_id, _, revision = model.partition("@")
    if hub_id.count("/") != 1 or hub_id.startswith((".", "/")):
        raise NotFound(
            f"there is no model folder {model!r}: "
            "give a folder or a hub id such as Qwen/Qwen2-VL-2B-Instruct"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    ignored = [pattern for pattern in _PICKLES if not (with_bin and pattern == "*.bin")]
    try:
        return Path(
            snapshot_download(
                hub_id, revision=revision or None, ignore_patterns=[*ignored, "onnx/*"]
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound(
            f"model {model!r} is not a folder, and the hub doesn't provide it: {error}"
        ) from error


def check(folder: Path) -> None:
    """Raises InvalidInput unless the folder has a checkpoint: config.json and safetensors."""
    if (folder / "fake.json").is_file():
        return
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"{folder} holds no config.json: it is not a checkpoint", field="model")
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
        found = (
            f"only {', '.join(pickles)}, which can run code when loaded"
            if pickles
            else "no weights"
        )
        raise InvalidInput(
            f"{folder} holds {found}: convert the weights to safetensors", field="model"
        )


def require_trainable(folder: Path, model: str) -> None:
    """Raises InvalidInput if training can't read the published form of `model` in `folder`."""
    named = _read(folder / "config.json").get("architectures")
    published = named[0] if named else ""
    if published in CONVERTED:
        raise InvalidInput(
            f"{model} is served as published ({published}) and can't be trained in this form: "
            f"{converting(model, 'MPA_STUDENT_')}, with an empty MPA_STUDENT_STORE",
            field="base_version",
            reason="CONVERSION_NEEDED",
        )


def set_image_processor(folder: Path, settings: Mapping[str, object]) -> None:
    """Writes `settings` (a pixel budget) into the image processor's configuration.

    Raises InvalidInput: the checkpoint has no such configuration.
    """
    if has_image_processor(folder, settings):
        return
    for path, config, part in _image_processors(folder):
        part.update(settings)
        write_atomically(path, json.dumps(config, indent=2))
        return
    raise InvalidInput(
        f"{folder} holds no configuration of an image processor to set {', '.join(settings)} in",
        field="model",
    )


def has_image_processor(folder: Path, settings: Mapping[str, object]) -> bool:
    """Whether the image processor's configuration has these settings already.

    True if there are no settings; a fake model fits any.
    """
    if not settings or (folder / "fake.json").is_file():
        return True
    part = next((part for _, _, part in _image_processors(folder)), {})
    return all(part.get(key) == value for key, value in settings.items())


def pixel_budget(folder: Path) -> str:
    """Sizes in the image processor's configuration, as JSON; "" if it has none."""
    for _, _, part in _image_processors(folder):
        if sizes := {key: part[key] for key in _PIXELS if part.get(key) is not None}:
            return json.dumps(sizes, sort_keys=True)
    return ""


def _image_processors(folder: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Files with an image processor's configuration: path, content, and that part of it."""
    for name, key in zip(IMAGE_PROCESSOR_FILES, ("image_processor", ""), strict=True):
        path = folder / name
        config = _read(path)
        if part := config.get(key) if key else config:
            yield path, config, part


def _read(path: Path) -> dict[str, Any]:
    """A configuration; {} if there is none. Raises InvalidInput: it is damaged."""
    try:
        return dict(json.loads(path.read_bytes())) if path.is_file() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path} is damaged ({error!s:.200}): restore it") from error


def _digest(folder: Path, patterns: tuple[str, ...]) -> str:
    paths = sorted(
        {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    )
    lines = [f"{path.name} {HASHES.sha256(path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def weights_sha256(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the weight files."""
    return _digest(folder, ("*.safetensors", "fake.json"))


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 over everything that decides the model's answers."""
    return _digest(folder, ("*.safetensors", *_IDENTITY))


def processor_sha256(folder: Path) -> str:
    """Hex SHA-256 over tokenizer and image processor, pixel budget included."""
    return _digest(folder, _PROCESSOR)


def rest_sha256(folder: Path) -> str:
    """Hex SHA-256 over configuration, code and adapter: all but weights, processor, template."""
    return _digest(folder, _REST)


def chat_template_sha256(folder: Path) -> str:
    """Hex SHA-256 over the chat template, wherever the checkpoint keeps it."""
    template = folder / "chat_template.jinja"
    if template.is_file():
        return HASHES.sha256(template)
    for name in ("chat_template.json", "tokenizer_config.json"):
        text = _read(folder / name).get("chat_template")
        if isinstance(text, str):
            return hashlib.sha256(text.encode()).hexdigest()
    return ""
