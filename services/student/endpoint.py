"""Answers by the versions of a store, for its owner and its followers."""

from __future__ import annotations

import abc
import asyncio
from dataclasses import dataclass

from services import metrics
from services.core.decoding import Decoding
from services.core.tasks import answer_prompt
from services.engines.images import LoadedImage
from services.engines.model import Prompt, Reply
from services.student.followers import Follower, Followers
from services.student.live import ServedPointers
from services.student.loader import StoredVersions
from services.student.production import ProductionSamples
from services.student.settings import StudentSettings
from services.student.store import VersionStore
from services.student.versions import Versions


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the version that gave it."""

    version: str
    reply: Reply


class StudentEndpoint(abc.ABC):
    """The versions of one store, and answers by them. Nothing is loaded before `start`."""

    def __init__(
        self,
        settings: StudentSettings,
        store: VersionStore,
        live: ServedPointers,
        followers: Followers | None = None,
    ) -> None:
        self.preset = settings.preset
        self.store = store
        self.samples = ProductionSamples(settings.samples)
        self._followers = followers
        self.versions = Versions(
            store,
            StoredVersions(store, settings.engine, settings.training_devices, settings.canaries),
            max_loaded=settings.max_loaded,
            max_adapters=settings.engine.max_loras,
            way=settings.swap_way,
            live=live,
            followers=followers,
        )

    @property
    def owner(self) -> str:
        """Address of the owner of the store; "" if it is this service."""
        return ""

    @abc.abstractmethod
    async def start(self) -> None:
        """Load the version that answers."""

    async def death(self) -> str:
        """Wait until this service can't answer any more; return the reason."""
        return await self.versions.death()

    async def revive(self) -> None:
        """Make it answer again. Raises the errors of loading."""
        await self.versions.revive()

    @abc.abstractmethod
    def end_waits(self) -> None:
        """End calls that wait for another event: the service stops."""

    async def followers(self) -> list[Follower]:
        """Services that follow the store; none if this is a follower itself."""
        return list((await self._followers.look()).values()) if self._followers else []

    def needs(self, name: str) -> str:
        """Reason to keep a version on disk; "" if there is none."""
        return self._followers.needs(name) if self._followers else "the owner of the store decides"

    async def close(self) -> None:
        await self.versions.close()
        await asyncio.to_thread(self.samples.close)
        self.store.close()

    async def answer(
        self,
        image: LoadedImage,
        question: str,
        *,
        template: str = "",
        decoding: Decoding | None = None,
        version: str = "",
        scored: bool = False,
    ) -> Answered:
        """Answer with `version`, or the live one; template and decoding default to its contract.

        `scored`: the reply needs its `logprobs`.
        """
        async with self.versions.lease(version) as lease:
            contract = lease.contract
            text = answer_prompt(question, template or contract.answer_template)
            prompt = Prompt(
                image,
                text,
                decoding or contract.decoding,
                system=contract.system_prompt,
                scored=scored,
            )
            reply = await lease.model.generate(prompt)
            metrics.replied(reply.usage)
            return Answered(lease.version, reply)
