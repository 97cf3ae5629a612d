"""The model that a stage asks: a service at an address, or an engine in the actor itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from services.core.annotation import Annotation
from services.core.decoding import Decoding
from services.core.errors import InvalidInput, Unavailable, WrongState
from services.core.provenance import Provenance
from services.core.tasks import answer_prompt
from services.core.usage import Usage
from services.engines import checkpoint
from services.engines.choice import Choice
from services.engines.loading import load_model
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.serving import of_checkpoint
from services.engines.settings import EngineSettings
from services.engines.teacher import HostedTeacher, find_task
from services.environment import Environment
from services.orchestrator.endpoints.panel import Panel
from services.rpc.client import (
    AnnotationReply,
    AnswerReply,
    Picture,
    StudentClient,
    TeacherClient,
    TeacherModel,
)
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_question


@dataclass(frozen=True, slots=True)
class Served:
    """At HOST:PORT, as every machine of the cluster can reach it; several teachers are a panel."""

    addresses: tuple[str, ...]
    patience_s: float

    async def teacher(self) -> TeacherClient:
        members = [TeacherClient(address, patience_s=self.patience_s) for address in self.addresses]
        return Panel(members) if len(members) > 1 else members[0]

    async def student(self) -> StudentClient:
        (address,) = self.addresses
        return StudentClient(address, patience_s=self.patience_s)


@dataclass(frozen=True, slots=True)
class Loaded:
    """In the actor. `model`: a folder that every node of the cluster sees, or a hub id; `weights_sha256` "" takes any.

    An actor asks the cluster for `devices` GPUs, or a share of one; 0 is a CPU.
    """

    model: str
    engine: EngineSettings
    devices: float = 0.0
    system_prompt: str = ""
    weights_sha256: str = ""
    preset: str = ""

    async def teacher(self) -> TeacherClient:
        engine = Mortal(await self._load())
        folder = await asyncio.to_thread(checkpoint.resolve, self.model)
        return cast(
            TeacherClient,
            _LoadedTeacher(
                HostedTeacher(engine, of_checkpoint(folder, self.engine, self.preset, self.model))
            ),
        )

    async def student(self) -> StudentClient:
        return cast(StudentClient, _LoadedStudent(Mortal(await self._load()), self.system_prompt))

    async def _load(self) -> VisionLanguageModel:
        """Raises WrongState where the folder holds other weights than it should."""
        folder = await asyncio.to_thread(checkpoint.resolve, self.model)
        if (
            self.weights_sha256
            and await asyncio.to_thread(checkpoint.weights_sha256, folder) != self.weights_sha256
        ):
            raise WrongState(
                f"{folder} on {os.uname().nodename} holds other weights than the student of this run"
            )
        return await load_model(folder, self.engine)


Source = Served | Loaded


def loaded(role: str, gpus: float, variables: Mapping[str, str] = os.environ) -> Loaded:
    """As the service of that role would load it (MPA_*_MODEL, _ENGINE and so on); `gpus`: what the cluster has.

    Raises InvalidInput: a provider's model can't be loaded.
    """
    env = Environment(f"MPA_{role.upper()}_", variables)
    if env.text("ENGINE") == "openai":
        raise InvalidInput(
            f"{env.prefix}ENGINE is 'openai': start that {role} as a service, and give its --{role} HOST:PORT"
        )
    choice = Choice.from_environment(env, role)
    devices, preset = _devices(choice.engine, gpus), choice.preset
    return Loaded(choice.model, choice.engine, devices, preset.system_prompt, preset=preset.name)


def _devices(engine: EngineSettings, gpus: float) -> float:
    """A GPU for each tensor-parallel part; of a single one the share that the engine takes, so that several may have room."""
    if engine.engine == "fake" or engine.device == "cpu" or not (gpus or engine.device):
        return 0.0
    return float(engine.tensor_parallel) if engine.tensor_parallel > 1 else engine.memory_share


class Mortal:
    """An engine whose death ends the actor: the cluster then starts another one, which asks again what this one was asked."""

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


@dataclass(frozen=True, slots=True)
class _Here:
    address: str = "the actors of the cluster"


class _LoadedTeacher:
    """What the stages ask of a TeacherClient."""

    connection = _Here()

    def __init__(self, teacher: HostedTeacher) -> None:
        self._teacher, self._images = teacher, ImageReceiver()

    async def model(self) -> TeacherModel:
        serving = self._teacher.serving
        return TeacherModel(
            self._teacher.fingerprint,
            serving.sha256,
            f"{serving.model or serving.preset} ({serving.engine})",
        )

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        done = await self._teacher.annotate(
            await self._images.receive_bytes(picture.data),
            find_task(task),
            prompt,
            decoding,
            guided=guided,
        )
        fingerprint, provenance = self._teacher.fingerprint, _provenance(done.reply)
        if isinstance(done.outcome, Annotation):
            return AnnotationReply(
                done.reply.text,
                done.outcome.question,
                done.outcome.answer,
                "",
                fingerprint,
                provenance,
            )
        return AnnotationReply(done.reply.text, "", "", done.outcome, fingerprint, provenance)

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        reply = await self._teacher.answer(
            await self._images.receive_bytes(picture.data),
            check_question(question),
            template,
            decoding,
        )
        return AnswerReply(reply.text, self._teacher.fingerprint, _provenance(reply))


class _LoadedStudent:
    """What the stages ask of a StudentClient."""

    connection = _Here()

    def __init__(self, model: VisionLanguageModel, system_prompt: str) -> None:
        self._model, self._system_prompt, self._images = model, system_prompt, ImageReceiver()

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding, version: str
    ) -> AnswerReply:
        text = answer_prompt(check_question(question), template)
        reply = await self._model.generate(
            Prompt(
                await self._images.receive_bytes(picture.data),
                text,
                decoding,
                system=self._system_prompt,
            )
        )
        return AnswerReply(reply.text, version, _provenance(reply))


def _provenance(reply: Reply) -> Provenance:
    usage = Usage(
        reply.prompt_tokens, reply.completion_tokens, reply.cached_prompt_tokens, reply.cost_usd
    )
    return Provenance(reply.finish_reason, usage, reply.system_fingerprint)
