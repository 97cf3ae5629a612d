"""Processes of this machine."""

import psutil


def command_of(process):
    """The command line of a process; "" once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
