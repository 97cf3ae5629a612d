"""The model of a stage: a service at an address, or an engine in the actor itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from services.core.annotation import Annotation
from services.core.decoding import Decoding
from services.core.errors import InvalidInput, Unavailable, WrongState
from services.core.tasks import answer_prompt
from services.engines import checkpoint
from services.engines.choice import Choice
from services.engines.linked import with_image_processor
from services.engines.loading import load_model
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.serving import of_checkpoint
from services.engines.settings import EngineSettings
from services.engines.teacher import HostedTeacher, find_task
from services.environment import Environment
from services.orchestrator.endpoints.panel import seated
from services.rpc.client import (
    AnnotationReply,
    AnsweringStudent,
    AnswerReply,
    Picture,
    StudentClient,
    Teacher,
    TeacherClient,
    TeacherModel,
)
from services.rpc.connection import IN_FLIGHT
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_question

HERE = "the actors of the cluster"


@dataclass(frozen=True, slots=True)
class Served:
    """Services at HOST:PORT, reachable from every machine of the cluster.

    Several teachers are a panel.
    """

    addresses: tuple[str, ...]
    patience_s: float

    async def teacher(self) -> Teacher:
        return seated(
            [TeacherClient(address, patience_s=self.patience_s) for address in self.addresses]
        )

    async def student(self) -> AnsweringStudent:
        (address,) = self.addresses
        return StudentClient(address, patience_s=self.patience_s)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that the actor loads.

    `model`: a folder that every node of the cluster sees, or a hub id; `weights_sha256`
    "" takes any weights. An actor asks the cluster for `devices` GPUs, or a share of one;
    0 is a CPU.
    """

    model: str
    engine: EngineSettings
    devices: float = 0.0
    system_prompt: str = ""
    weights_sha256: str = ""
    preset: str = ""
    image_processor: Mapping[str, object] = field(default_factory=dict)
    """Settings that replace the checkpoint's own: a pixel budget."""

    async def teacher(self) -> Teacher:
        engine = Mortal(await self._load())
        folder = await self._folder()
        serving = of_checkpoint(folder, self.engine, self.preset, self.model)
        return LoadedTeacher(HostedTeacher(engine, serving))

    async def student(self) -> AnsweringStudent:
        return LoadedStudent(Mortal(await self._load()), self.system_prompt)

    async def _folder(self) -> Path:
        found = await asyncio.to_thread(checkpoint.resolve, self.model)
        return await asyncio.to_thread(with_image_processor, found, self.image_processor)

    async def _load(self) -> VisionLanguageModel:
        """Loads the engine. Raises WrongState if the folder has other weights than it should."""
        folder = await self._folder()
        if (
            self.weights_sha256
            and await asyncio.to_thread(checkpoint.weights_sha256, folder) != self.weights_sha256
        ):
            raise WrongState(
                f"{folder} on {os.uname().nodename} has other weights "
                "than the student of this run: copy that student there, or give another --run"
            )
        return await load_model(folder, self.engine)


Source = Served | Loaded


def loaded(role: str, gpus: float, variables: Mapping[str, str] = os.environ) -> Loaded:
    """The model that the service of that role would load (MPA_*_MODEL, _ENGINE and so on).

    `gpus`: number in the cluster. Raises InvalidInput for a provider's model, which can't
    be loaded.
    """
    env = Environment(f"MPA_{role.upper()}_", variables)
    if env.text("ENGINE") == "openai":
        raise InvalidInput(
            f"{env.prefix}ENGINE is 'openai': start that {role} as a service, "
            f"and give its --{role} HOST:PORT"
        )
    choice = Choice.from_environment(env, role)
    return Loaded(
        model=choice.model,
        engine=choice.engine,
        devices=_devices(choice.engine, gpus),
        system_prompt=choice.preset.system_prompt,
        preset=choice.preset.name,
        image_processor=choice.preset.image_processor,
    )


def _devices(engine: EngineSettings, gpus: float) -> float:
    """GPUs of an actor: one for each tensor-parallel part, or the engine's share of one."""
    if engine.engine == "fake" or engine.device == "cpu" or not (gpus or engine.device):
        return 0.0
    return float(engine.gpus) if engine.gpus > 1 else engine.memory_share


class Mortal:
    """An engine whose death ends the actor.

    The cluster then starts another, which repeats its work.
    """

    def __init__(self, engine: VisionLanguageModel) -> None:
        self._engine = engine

    @property
    def fingerprint(self) -> str:
        return self._engine.fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        try:
            return await self._engine.generate(prompt)
        except Unavailable:
            os._exit(1)

    async def death(self) -> str:
        return await self._engine.death()

    async def close(self) -> None:
        await self._engine.close()


class LoadedTeacher:
    """A teacher in the process of the actor."""

    address = HERE
    in_flight = IN_FLIGHT

    def __init__(self, teacher: HostedTeacher) -> None:
        self._teacher = teacher
        self._images = ImageReceiver()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._teacher.close()

    async def ready(self) -> None:
        """Returns at once: the model is loaded."""

    async def model(self) -> TeacherModel:
        serving = self._teacher.serving
        return TeacherModel(
            self._teacher.fingerprint,
            serving.sha256,
            f"{serving.model or serving.preset} ({serving.engine})",
            pixel_budget=serving.pixel_budget,
        )

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        image = await self._images.receive_bytes(picture.data)
        done = await self._teacher.annotate(image, find_task(task), prompt, decoding, guided=guided)
        written = done.outcome if isinstance(done.outcome, Annotation) else None
        return AnnotationReply(
            text=done.reply.text,
            question=written.question if written else "",
            answer=written.answer if written else "",
            rejection="" if isinstance(done.outcome, Annotation) else done.outcome,
            model_fingerprint=self._teacher.fingerprint,
            provenance=done.reply.provenance,
        )

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        image = await self._images.receive_bytes(picture.data)
        reply = await self._teacher.answer(image, check_question(question), template, decoding)
        return AnswerReply(reply.text, self._teacher.fingerprint, reply.provenance)


class LoadedStudent:
    """A student in the process of the actor."""

    address = HERE
    in_flight = IN_FLIGHT

    def __init__(self, model: VisionLanguageModel, system_prompt: str) -> None:
        self._model = model
        self._system_prompt = system_prompt
        self._images = ImageReceiver()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._model.close()

    async def ready(self) -> None:
        """Returns at once: the model is loaded."""

    async def answer(
        self,
        picture: Picture,
        question: str,
        template: str,
        decoding: Decoding,
        version: str,
        *,
        scored: bool = False,
    ) -> AnswerReply:
        text = answer_prompt(check_question(question), template)
        image = await self._images.receive_bytes(picture.data)
        prompt = Prompt(image, text, decoding, system=self._system_prompt, scored=scored)
        reply = await self._model.generate(prompt)
        logprob = reply.known_logprob if scored else None
        return AnswerReply(reply.text, version, reply.provenance, logprob)
