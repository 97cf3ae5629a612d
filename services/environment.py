"""Settings from environment variables: a prefix for each service, errors that name the variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.core.errors import InvalidInput

T = TypeVar("T")

_DEVICE = re.compile(r"\d+|(GPU|MIG)-[0-9A-Za-z/-]+")


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables that begin with `prefix` ("MPA_TEACHER_"); an empty one takes the default."""

    prefix: str
    variables: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        return self.variables.get(self.prefix + name) or default

    def path(self, name: str) -> Path | None:
        given = self.text(name)
        return Path(given) if given else None

    def integer(self, name: str, default: int) -> int:
        return self._number(name, default, int)

    def number(self, name: str, default: float) -> float:
        return self._number(name, default, float)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True for 1, true and yes; False for 0, false and no."""
        given = self.text(name, "1" if default else "0").lower()
        if given not in ("0", "1", "true", "false", "yes", "no"):
            raise InvalidInput(
                f"{self.prefix}{name} is {given!r}: give 1 or 0", field=self.prefix + name
            )
        return given in ("1", "true", "yes")

    def devices(self, name: str) -> str:
        """Devices in the form of CUDA_VISIBLE_DEVICES: "0,1", or UUIDs.

        Raises InvalidInput: not a device, or one that is named twice.
        """
        given = [device.strip() for device in self.text(name).split(",")] if self.text(name) else []
        variable = self.prefix + name
        for device in given:
            if not _DEVICE.fullmatch(device):
                raise InvalidInput(
                    f"{variable} is {self.text(name)!r}: {device!r} is not a device; "
                    "give numbers or UUIDs separated by commas, such as 0,1",
                    field=variable,
                )
            if given.count(device) > 1:
                raise InvalidInput(
                    f"{variable} is {self.text(name)!r}: device {device} is named twice",
                    field=variable,
                )
        return ",".join(given)

    def _number(self, name: str, default: T, read: Callable[[str], T]) -> T:
        given = self.text(name)
        try:
            return read(given) if given else default
        except ValueError as error:
            raise InvalidInput(
                f"{self.prefix}{name} is {given!r}: give a number", field=self.prefix + name
            ) from error


def pin_devices(prefix: str, variables: MutableMapping[str, str] = os.environ) -> None:
    """Limits this process and its children to the devices in the variable `prefix`DEVICES.

    Must be called before anything asks CUDA for its devices. Raises InvalidInput.
    """
    if devices := Environment(prefix, variables).devices("DEVICES"):
        variables["CUDA_VISIBLE_DEVICES"] = devices
