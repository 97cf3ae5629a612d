"""The student's settings, read from MPA_STUDENT_* once at start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.presets import Preset
from services.engines.choice import Choice
from services.engines.settings import EngineSettings
from services.environment import Environment
from services.rpc.http.completions.hosts import ImageUrlSettings
from services.rpc.settings import RpcSettings
from services.student.canary_verdict import Strictness
from services.student.execution import Execution
from services.student.plan import SwapWay
from services.student.production import SampleSettings
from services.student.upload_room import UploadLimits

GRPC_PORT = 50052
_OWN_NAME = re.compile(r"v\d+|live|candidate|previous")


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """All settings of one student service."""

    model: str
    """Folder or hub id, by default the preset's: the first version of an empty store."""
    store: Path
    """Folder of versions, datasets and trainings."""
    follows: bool
    """Serve a store that another service owns: its owner trains and decides."""
    followers_s: float
    """Seconds that a promotion waits for the followers of the store to load the version."""
    preset: Preset
    """Defaults for the model: prompts, pixels, hyperparameters."""
    engine: EngineSettings
    """Engine of the versions."""
    max_loaded: int
    """Largest number of versions that are loaded with an engine of their own."""
    swap_way: SwapWay | None
    """Way of swaps; None: chosen by the free memory."""
    canaries: Strictness | None
    """Treatment of canaries whose scores differ; None: chosen by the way of a swap."""
    training_devices: str
    """CUDA_VISIBLE_DEVICES of the training process; "": inherited."""
    is_serving: bool
    """Load the live version at the start. If not, the service trains and manages versions, on a
    device without room for a model."""
    training: Execution
    """Execution of trainings: memory, number format, processes."""
    samples: SampleSettings
    """Samples of users' requests."""
    uploads: UploadLimits
    """Disk space of datasets."""
    image_urls: ImageUrlSettings
    """Image URLs of chat completions."""
    served_names: tuple[str, ...]
    """Further names of the live version in chat completions."""
    has_try_page: bool
    """Serve the page on which people try the student."""
    try_teacher: str
    """Address of a teacher that the page asks, too; "" for none."""
    rpc: RpcSettings
    """Addresses of gRPC and HTTP, and limits of requests."""

    @staticmethod
    def from_env(variables: Mapping[str, str] = os.environ) -> StudentSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        env = Environment("MPA_STUDENT_", variables)
        if env.text("ENGINE") == "openai":
            raise InvalidInput(
                "MPA_STUDENT_ENGINE is 'openai': a student is trained, and a provider's weights "
                "can't be; use vllm",
                field="MPA_STUDENT_ENGINE",
            )
        if env.flag("FOLLOW") and not env.flag("SERVE", default=True):
            raise InvalidInput(
                "MPA_STUDENT_FOLLOW is 1 and MPA_STUDENT_SERVE is 0: a follower does nothing but "
                "serve; leave one of them out",
                field="MPA_STUDENT_SERVE",
            )
        if env.text("TRY_TEACHER") and not env.flag("TRY_PAGE"):
            raise InvalidInput(
                "MPA_STUDENT_TRY_TEACHER is set and MPA_STUDENT_TRY_PAGE is not: the page alone "
                "asks that teacher; set MPA_STUDENT_TRY_PAGE=1, or leave the teacher out",
                field="MPA_STUDENT_TRY_PAGE",
            )
        choice = Choice.from_environment(env, "student")
        return StudentSettings(
            model=choice.model,
            store=env.path("STORE") or Path(".mpa/student"),
            follows=env.flag("FOLLOW"),
            followers_s=_seconds(env, "FOLLOWERS_S", 300.0),
            preset=choice.preset,
            engine=choice.engine,
            max_loaded=_at_least_one(env, "MAX_LOADED", 3),
            swap_way=_swap_way(env),
            canaries=_canaries(env),
            training_devices=env.devices("TRAINING_DEVICES"),
            is_serving=env.flag("SERVE", default=True),
            training=Execution.from_environment(env),
            samples=SampleSettings.from_environment(env),
            uploads=UploadLimits.from_environment(env),
            image_urls=ImageUrlSettings.from_environment(env),
            served_names=_served_names(env),
            has_try_page=env.flag("TRY_PAGE"),
            try_teacher=env.text("TRY_TEACHER"),
            rpc=RpcSettings.from_environment(env, GRPC_PORT),
        )


def _at_least_one(env: Environment, name: str, default: int) -> int:
    given = env.integer(name, default)
    if given < 1:
        raise InvalidInput(
            f"{env.prefix}{name} is {given}: give 1 or more", field=env.prefix + name
        )
    return given


def _served_names(env: Environment) -> tuple[str, ...]:
    names = tuple(each.strip() for each in env.text("SERVED_NAMES").split(",") if each.strip())
    for name in names:
        if _OWN_NAME.fullmatch(name):
            variable = env.prefix + "SERVED_NAMES"
            raise InvalidInput(
                f"{variable} has {name!r}, which is a name of a version or pointer: give another",
                field=variable,
            )
    return names


def _seconds(env: Environment, name: str, default: float) -> float:
    given = env.number(name, default)
    if not 0 < given < float("inf"):
        raise InvalidInput(
            f"{env.prefix}{name} is {given:g}: give more than 0", field=env.prefix + name
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


def _canaries(env: Environment) -> Strictness | None:
    given = env.text("CANARIES", "auto")
    if given not in ("auto", *Strictness):
        raise InvalidInput(
            f"{env.prefix}CANARIES is {given!r}: give auto, {', '.join(Strictness)}",
            field=env.prefix + "CANARIES",
        )
    return None if given == "auto" else Strictness(given)
