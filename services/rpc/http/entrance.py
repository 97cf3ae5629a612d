"""Shared state of a service's connections, requests and routes: limits and the room taken."""

from __future__ import annotations

from services.rpc.access.access import Access
from services.rpc.http.connections import WaitingConnections
from services.rpc.http.limits import HttpLimits, Quota
from services.rpc.load_shedding import LoadShedder


class Entrance:
    """The state of one process. gRPC calls pass the same `shedder`."""

    def __init__(
        self, limits: HttpLimits, shedder: LoadShedder, access: Access | None = None
    ) -> None:
        self.limits = limits
        self.shedder = shedder
        self.access = access or Access()
        self.waiting = WaitingConnections(limits.connections, limits.connections_per_caller)
        self.requests = Quota("requests at once", limits.requests, limits.requests_per_caller)
        self.uploads = Quota(
            "bytes of uploads", limits.upload_mib * 2**20, limits.upload_mib_per_caller * 2**20
        )
        self.is_leaving = False
