"""Settings that both services share, read from MPA_TEACHER_* or MPA_STUDENT_*."""

from __future__ import annotations

from dataclasses import dataclass

from services.environment import Environment
from services.rpc.images import ImageSettings
from services.rpc.lifecycle import ListenSettings
from services.rpc.load_shedding import LoadSettings
from services.rpc.server import CallerSettings


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """Images of requests, addresses of gRPC and HTTP, load shedding, limits of each caller."""

    images: ImageSettings
    listen: ListenSettings
    load: LoadSettings
    callers: CallerSettings

    @staticmethod
    def from_environment(env: Environment, grpc_port: int) -> RpcSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        return RpcSettings(
            images=ImageSettings.from_environment(env),
            listen=ListenSettings.from_environment(env, grpc_port),
            load=LoadSettings.from_environment(env),
            callers=CallerSettings.from_environment(env),
        )
