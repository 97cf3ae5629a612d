"""A checkpoint with other settings of its image processor: a folder of links to its files.

Every engine, transformers and vLLM alike, reads the pixel budget from the checkpoint's folder. The
folder itself is never written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from services.core.errors import MpaError
from services.engines import checkpoint
from services.files import unfinished_path


def with_image_processor(
    folder: Path, settings: Mapping[str, object], variables: Mapping[str, str] = os.environ
) -> Path:
    """The checkpoint with `settings` in its image processor; `folder` itself if it has them.

    Equal calls return the same path, in the user's cache folder. Raises InvalidInput: there is no
    image processor to set; MpaError: the cache folder can't be written.
    """
    if checkpoint.has_image_processor(folder, settings):
        return folder
    cache = variables.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    linked = Path(cache) / "mpa" / "checkpoints" / _name(folder, settings)
    if linked.is_dir():
        return linked
    unfinished = unfinished_path(linked)
    try:
        unfinished.mkdir(parents=True)
        for file in folder.iterdir():
            if file.name in checkpoint.IMAGE_PROCESSOR_FILES:
                shutil.copy(file, unfinished)
            else:
                (unfinished / file.name).symlink_to(file.absolute())
        checkpoint.set_image_processor(unfinished, settings)
        unfinished.rename(linked)
    except OSError as error:
        if linked.is_dir():  # another service was faster
            return linked
        raise MpaError(
            f"{linked} can't be written ({error.strerror}): it would hold links to the checkpoint, "
            "and its image processor with the preset's pixels; grant access, or name another "
            "folder in XDG_CACHE_HOME"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return linked


def _name(folder: Path, settings: Mapping[str, object]) -> str:
    """A hash of the folder, its files by name, its image processor, and the settings."""
    configurations = [
        (folder / name).read_text()
        for name in checkpoint.IMAGE_PROCESSOR_FILES
        if (folder / name).is_file()
    ]
    names = sorted(file.name for file in folder.iterdir())
    content = [str(folder.absolute()), names, configurations, dict(settings)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
