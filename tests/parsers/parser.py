"""A reader of strangers' bytes, with examples of its input."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from services.core.errors import MpaError


@dataclass(frozen=True)
class Parser:
    """`allowed`: errors that the caller of `read` expects next to MpaError."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = ()

    def try_to_read(self, data):
        """Raises every error that is a fault."""
        with suppress(MpaError, *self.allowed):
            self.read(data)
