"""Settings that both services share, read from MPA_TEACHER_* or MPA_STUDENT_*."""

from __future__ import annotations

from dataclasses import dataclass

from services.environment import Environment
from services.rpc.access.settings import AccessSettings
from services.rpc.images import ImageSettings
from services.rpc.lifecycle import ListenSettings
from services.rpc.load_shedding import LoadSettings
from services.rpc.server import CallerSettings


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """Images of requests, addresses, access, load shedding, limits of each caller."""

    images: ImageSettings
    listen: ListenSettings
    load: LoadSettings
    callers: CallerSettings
    access: AccessSettings

    @staticmethod
    def from_environment(env: Environment, grpc_port: int) -> RpcSettings:
        """Raises InvalidInput, naming the variable that is wrong."""
        listen = ListenSettings.from_environment(env, grpc_port)
        access = AccessSettings.from_environment(env)
        access.require_guarded(listen.host)
        return RpcSettings(
            images=ImageSettings.from_environment(env),
            listen=listen,
            load=LoadSettings.from_environment(env),
            callers=CallerSettings.from_environment(env),
            access=access,
        )
