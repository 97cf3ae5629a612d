"""The student's settings, read from MPA_STUDENT_* once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.presets import Preset
from services.engines.choice import Choice
from services.engines.settings import EngineSettings
from services.environment import Environment
from services.rpc.images import ImageSettings
from services.rpc.lifecycle import ListenSettings
from services.rpc.load_shedding import LoadSettings
from services.rpc.server import CallerSettings
from services.student.execution import Execution
from services.student.plan import SwapWay
from services.student.production import SampleSettings
from services.student.uploads import UploadLimits

GRPC_PORT = 50052


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """`model`: a folder or a hub id (the preset's unless it is named), imported as the first version of an empty `store`.

    `max_loaded`: versions with an engine of their own in memory at once. `swap_way` None is chosen by the memory there is.
    `training_devices`: CUDA_VISIBLE_DEVICES of the training process ("" inherits). Without `is_serving` no version is loaded at
    start: the service trains and manages versions on a device that has no room for more.
    """

    model: str
    store: Path
    preset: Preset
    images: ImageSettings
    max_loaded: int
    swap_way: SwapWay | None
    training_devices: str
    is_serving: bool
    training: Execution
    samples: SampleSettings
    uploads: UploadLimits
    listen: ListenSettings
    load: LoadSettings
    callers: CallerSettings
    engine: EngineSettings

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> StudentSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_STUDENT_", variables)
        if env.text("ENGINE") == "openai":
            raise InvalidInput(
                "MPA_STUDENT_ENGINE is 'openai': a student is trained, and weights at a provider can't be: use vllm",
                field="MPA_STUDENT_ENGINE",
            )
        choice = Choice.from_environment(env, "student")
        return StudentSettings(
            model=choice.model,
            store=env.path("STORE") or Path(".mpa/student"),
            preset=choice.preset,
            images=ImageSettings.from_environment(env),
            max_loaded=_at_least_one(env, "MAX_LOADED", 3),
            swap_way=_swap_way(env),
            training_devices=env.devices("TRAINING_DEVICES"),
            is_serving=env.flag("SERVE", default=True),
            training=Execution.from_environment(env),
            samples=SampleSettings.from_environment(env),
            uploads=UploadLimits.from_environment(env),
            listen=ListenSettings.from_environment(env, GRPC_PORT),
            load=LoadSettings.from_environment(env),
            callers=CallerSettings.from_environment(env),
            engine=choice.engine,
        )


def _at_least_one(env: Environment, name: str, default: int) -> int:
    given = env.integer(name, default)
    if given < 1:
        raise InvalidInput(
            f"{env.prefix}{name} is {given}: give 1 or more", field=env.prefix + name
        )
    return given


def _swap_way(env: Environment) -> SwapWay | None:
    given = env.text("SWAP", "auto")
    if given not in ("auto", SwapWay.TWO_SLOTS, SwapWay.IN_PLACE):
        raise InvalidInput(
            f"{env.prefix}SWAP is {given!r}: give auto, {SwapWay.TWO_SLOTS} or {SwapWay.IN_PLACE}",
            field=env.prefix + "SWAP",
        )
    return None if given == "auto" else SwapWay(given)
