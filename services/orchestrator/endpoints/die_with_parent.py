"""A command that ends with its parent: `python -m ...die_with_parent PARENT COMMAND...`.

The process becomes COMMAND, and gets SIGTERM when PARENT dies. A `finally` does not run
when the orchestrator is killed with SIGKILL; Linux's death signal, which survives exec,
does.
"""

from __future__ import annotations

import os
import sys

from services.engines import tether


def main() -> None:
    parent, *command = sys.argv[1:]
    tether.end_with_parent()
    if os.getppid() != int(parent):  # it died before the call above
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
