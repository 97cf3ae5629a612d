"""Our plugins of vLLM, for its processes in a bento.

vLLM finds plugins by the metadata of installed packages (pyproject.toml, entry point group
`vllm.general_plugins`). A bento has the files of this package, but does not install it. `plugins/`
has the same metadata; a test compares the two.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "vllm.general_plugins"
_METADATA = Path(__file__).parent / "plugins"


def announce() -> None:
    """Makes the plugins known to this process and to those that it spawns, which get its path."""
    if "mpa-tether" not in entry_points(group=GROUP).names:
        sys.path.append(str(_METADATA))
