"""Scripted teacher and student: their knowledge, their answers, and a record of their calls."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    teacher_pb2,
    teacher_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from services.core.errors import Conflict, MpaError, NotFound
from services.rpc.status import to_status
from tests.orchestrator.scripted_service import Service, abort, in_bulk

USAGE = types_pb2.Usage(
    prompt_tokens=100, completion_tokens=10, cached_prompt_tokens=40, cost_usd=0.001
)
MISTAKE = "mauve"
EARLIER = versions_pb2.Contract(decoding=versions_pb2.Contract.Decoding(max_new_tokens=5))
COLORS = ("red", "green", "blue", "teal")


def draw(*parts) -> float:
    """A number in [0, 1) that follows from `parts`."""
    return int(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12], 16) / 16**12


def truth(image_sha256: str, question: str) -> str:
    return COLORS[int(draw("truth", image_sha256, question) * len(COLORS))]


def answer(skill: float, image_sha256: str, question: str) -> str:
    """A more skilled model knows everything that a less skilled one does."""
    return (
        truth(image_sha256, question)
        if draw("skill", image_sha256, question) < skill
        else "unknown"
    )


@dataclass
class ScriptedTeacher(Service, teacher_pb2_grpc.TeacherServiceServicer):
    """A teacher with a known share of right and wrong labels.

    `rejects`: reason to reject a reply, by (image sha256, seed); "" for a good one.
    `finishes`: why an answer ended, by its question; unset, as in services of an older
    contract. `serving`: everything else that decides its replies; "" is a service of an
    older contract, which can't state it. `tariff` None: a model without a provider.

    `noise`: the share of questions that it labels, and answers greedily, with a mistake
    of its own (or of the teacher `errs_like`). Its samples are right, but for the share
    `wavering` of them, unless it is `stubborn`. `fails`: error of a call, by its kind and
    seed. `prompts`: the prompts of its annotations.
    """

    skill: float = 0.95
    noise: float = 0.0
    wavering: float = 0.0
    errs_like: str = ""
    stubborn: bool = False
    fails: Callable[[str, int], MpaError | None] = lambda *_: None
    fingerprint: str = "teacher-a"
    rejects: Callable[[str, int], str] = lambda *_: ""
    finishes: Callable[[str], types_pb2.FinishReason] = lambda _: (
        types_pb2.FINISH_REASON_UNSPECIFIED
    )
    question: Callable[[str, int], str] = lambda sha256, seed: (
        f"what color is thing {int(draw(sha256, seed) * 1000)}?"
    )
    prompts: list = field(default_factory=list)
    serving: str = "serving-a"
    tariff: teacher_pb2.Tariff | None = None
    pixel_budget: str = ""

    def is_mistaken(self, sha256: str, question: str) -> bool:
        return draw("noise", self.errs_like or self.fingerprint, sha256, question) < self.noise

    async def GetModel(self, request, context):
        if not self.serving:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        response = teacher_pb2.GetModelResponse(
            model_fingerprint=self.fingerprint,
            serving_sha256=self.serving,
            pixel_budget=self.pixel_budget,
        )
        if self.tariff:
            response.tariff.CopyFrom(self.tariff)
        return response

    async def Annotate(self, request, context):
        sha256 = await self.begin("annotate", request.image, context)
        seed = request.decoding.seed
        if failure := self.fails("annotate", seed):
            await abort(context, failure)
        self.calls["annotate"] += 1
        self.keys["annotate", sha256, seed] += 1
        self.prompts.append(request.prompt)
        rejection = self.rejects(sha256, seed)
        question = "" if rejection else self.question(sha256, seed)
        return teacher_pb2.AnnotateResponse(
            text="as written",
            question=question,
            answer=""
            if rejection
            else MISTAKE
            if self.is_mistaken(sha256, question)
            else truth(sha256, question),
            rejection=rejection,
            model_fingerprint=self.fingerprint,
            usage=USAGE,
            system_fingerprint="fp_1",
        )

    async def Answer(self, request, context):
        sha256 = await self.begin("answer", request.image, context)
        kind, seed = (
            ("sample", request.decoding.seed) if request.decoding.temperature else ("answer", 0)
        )
        if failure := self.fails(kind, seed):
            await abort(context, failure)
        self.calls[kind] += 1
        self.keys[(kind, sha256, request.question, *([seed] if kind == "sample" else []))] += 1
        text = answer(self.skill, sha256, request.question)
        if kind == "sample" and not self.stubborn:
            wavers = (
                draw("wavering", self.fingerprint, sha256, request.question, seed) < self.wavering
            )
            text = "unknown" if wavers else truth(sha256, request.question)
        elif self.is_mistaken(sha256, request.question):
            text = MISTAKE
        return teacher_pb2.TeacherServiceAnswerResponse(
            answer=text,
            model_fingerprint=self.fingerprint,
            usage=USAGE,
            finish_reason=self.finishes(request.question),
            system_fingerprint="fp_2",
        )

    AnnotateStream = in_bulk(Annotate, teacher_pb2.AnnotateStreamResponse)
    AnswerStream = in_bulk(Answer, teacher_pb2.TeacherServiceAnswerStreamResponse)


@dataclass
class ScriptedStudent(
    Service,
    student_pb2_grpc.StudentServiceServicer,
    versions_pb2_grpc.VersionServiceServicer,
    training_pb2_grpc.TrainingServiceServicer,
    operations_pb2_grpc.OperationsServicer,
):
    """A student with `skills` by version.

    `metrics` of the versions that it lists, by name; `adapters`: those of them that are
    adapters. `contracts`: of its versions, as the trainings asked or as a service of an
    earlier release has them. Training adds a version of `trained_skill`, or fails with
    `training_error`. Further trainings add v3, v4, ... of the skills in `trained_later`,
    the last of them for all that follow. `refusal`: error of asking about a training;
    `failed_before`: requests whose training has failed already. `forecast`: of a training; None
    is a service of an earlier release. `cards`: that came with promotions.
    """

    skills: dict = field(default_factory=lambda: {"v1": 0.4})
    live: str = "v1"
    previous: str = ""
    trained_skill: float = 0.9
    trained_later: tuple = ()
    training_error: MpaError | None = None
    trainings: list = field(default_factory=list)
    samples: list = field(default_factory=list)
    refusal: MpaError | None = None
    failed_before: set = field(default_factory=set)
    made: dict = field(default_factory=dict)
    weights: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    adapters: tuple = ()
    contracts: dict = field(default_factory=dict)
    cards: dict = field(default_factory=dict)
    plans: list = field(default_factory=list)
    keeps_contract: bool = True
    preset: str = "bundled"
    forecast: training_pb2.PlanTrainingResponse | None = None

    async def PlanTraining(self, request, context):
        if self.forecast is None:  # as a service of an earlier release
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
        self.plans.append(request)
        return self.forecast

    async def Answer(self, request, context):
        sha256 = await self.begin("answer", request.image, context)
        version = request.version or self.live
        if version not in self.skills:
            await abort(context, NotFound(f"no version {version}"))
        self.calls["answer"] += 1
        self.keys["answer", sha256, request.question, request.version] += 1
        text = self.says(answer(self.skills[version], sha256, request.question))
        return student_pb2.AnswerResponse(answer=text, version=version)

    def says(self, text: str) -> str:
        return text

    AnswerStream = in_bulk(Answer, student_pb2.AnswerStreamResponse)

    async def ListVersions(self, request, context):
        versions = [
            versions_pb2.Version(
                name=name, metrics=metrics, adapter_of="v1" if name in self.adapters else ""
            )
            for name, metrics in self.metrics.items()
        ]
        return versions_pb2.ListVersionsResponse(
            versions=versions, live=self.live, previous=self.previous, preset=self.preset
        )

    async def GetVersion(self, request, context):
        state = versions_pb2.VERSION_STATE_AVAILABLE
        weights = self.weights.get(request.name, f"weights of {request.name}")
        contract = self.contracts.get(request.name)
        version = versions_pb2.Version(
            name=request.name, state=state, weights_sha256=weights, contract=contract
        )
        return versions_pb2.GetVersionResponse(version=version)

    async def PromoteVersion(self, request, context):
        if request.expected_live != self.live:
            await abort(context, Conflict(f"{self.live} is live"))
        self.previous, self.live = self.live, request.name
        self.cards[request.name] = request.card
        return versions_pb2.PromoteVersionResponse(live=self.live, previous=self.previous)

    async def RollbackVersion(self, request, context):
        self.previous, self.live = self.live, self.previous
        return versions_pb2.RollbackVersionResponse(live=self.live, previous=self.previous)

    async def UploadDataset(self, requests, context):
        images = set()
        samples = []
        async for part in requests:
            if part.WhichOneof("part") == "image":
                images.add(hashlib.sha256(part.image).hexdigest())
            else:
                samples.append(part.sample)
        assert {sample.image_sha256 for sample in samples} == images
        self.samples = samples
        dataset = hashlib.sha256("\n".join(map(str, samples)).encode()).hexdigest()
        return training_pb2.UploadDatasetResponse(
            dataset=dataset, samples=len(samples), images=len(images)
        )

    async def Train(self, request, context):
        self.trainings.append(request)
        operation = self._operation(done=False)
        if request.request_id in self.failed_before:
            operation.error.CopyFrom(to_status(MpaError("ended with code -15")))
        return operation

    async def ListOperations(self, request, context):
        return operations_pb2.ListOperationsResponse()

    async def GetOperation(self, request, context):
        if self.refusal:
            await abort(context, self.refusal)
        return self._operation(done=True)

    def _operation(self, *, done: bool):
        operation = operations_pb2.Operation(name="operations/1", done=done)
        operation.metadata.Pack(
            training_pb2.TrainMetadata(
                step=8 if done else 1, total_steps=8, loss=0.5, phase="training"
            )
        )
        if done and self.training_error:
            operation.error.CopyFrom(to_status(self.training_error))
            self.failed_before.add(self.trainings[-1].request_id)
        elif done:
            version = self.made.setdefault(self.trainings[-1].request_id, f"v{len(self.made) + 2}")
            later = (self.trained_skill, *self.trained_later)
            self.skills[version] = later[min(int(version[1:]) - 2, len(later) - 1)]
            self.contracts[version] = (
                self.trainings[-1].contract if self.keeps_contract else EARLIER
            )
            operation.response.Pack(training_pb2.TrainResponse(version=version))
        return operation
