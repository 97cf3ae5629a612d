"""The role that each RPC and each route needs. Whatever is not named here is denied."""

from __future__ import annotations

from enum import StrEnum

from services.core.errors import InvalidInput


class AccessRole(StrEnum):
    """Rights that a key may have."""

    ASK = "ask"
    """Ask the model."""
    OPERATE = "operate"
    """Load, promote, roll back, delete and export versions, and cancel any training."""
    TRAIN = "train"
    """Upload data sets, train, and wait for or cancel trainings of the same key."""
    READ = "read"
    """Read versions, trainings and metrics."""


Roles = frozenset[AccessRole]
_ASK = frozenset({AccessRole.ASK})
_OPERATE = frozenset({AccessRole.OPERATE})
_TRAIN = frozenset({AccessRole.TRAIN})
_READ = frozenset({AccessRole.READ})
ANY_ROLE = frozenset(AccessRole)

OPEN = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/livez",
        "/healthz",
        "/readyz",
        "/try",
        "/try/tryout.css",
        "/try/tryout.js",
    }
)
"""Health, and the page on which people try the student, as it is before a question. The page has
nothing of this service in it; browsers can send no key when they open an address."""

NEEDED: dict[str, Roles] = {
    "/mpa.v1.StudentService/Answer": _ASK,
    "/mpa.v1.StudentService/AnswerStream": _ASK,
    "/mpa.v1.TeacherService/Annotate": _ASK,
    "/mpa.v1.TeacherService/AnnotateStream": _ASK,
    "/mpa.v1.TeacherService/Answer": _ASK,
    "/mpa.v1.TeacherService/AnswerStream": _ASK,
    "/mpa.v1.TeacherService/GetModel": _ASK | _READ,
    "/mpa.v1.VersionService/ListVersions": _READ,
    "/mpa.v1.VersionService/GetVersion": _READ,
    "/mpa.v1.VersionService/LoadVersion": _OPERATE,
    "/mpa.v1.VersionService/PromoteVersion": _OPERATE,
    "/mpa.v1.VersionService/RollbackVersion": _OPERATE,
    "/mpa.v1.VersionService/DeleteVersion": _OPERATE,
    "/mpa.v1.VersionService/ExportVersion": _OPERATE,
    "/mpa.v1.TrainingService/UploadDataset": _TRAIN,
    "/mpa.v1.TrainingService/Train": _TRAIN,
    "/mpa.v1.TrainingService/PlanTraining": _TRAIN,
    "/mpa.v1.TrainingService/GetSampleLosses": _READ | _TRAIN,
    # A key with `train` alone sees and cancels its own trainings (student/operations.py).
    "/google.longrunning.Operations/GetOperation": _READ | _TRAIN,
    "/google.longrunning.Operations/WaitOperation": _READ | _TRAIN,
    "/google.longrunning.Operations/CancelOperation": _OPERATE | _TRAIN,
    "/google.longrunning.Operations/ListOperations": _READ,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY_ROLE,
    "/v1/vqa": _ASK,
    "/v1/annotate": _ASK,
    "/v1/chat/completions": _ASK,
    "/v1/models": _ASK | _READ,
    "/v1/models/{model:path}": _ASK | _READ,
    "/openapi.json": ANY_ROLE,
    "/try/answers": _ASK,
    "/try/verdicts": _ASK,
    "/metrics": _READ,
}
"""Roles of an RPC or route; a caller needs one of them."""

AUDITED = frozenset(
    name
    for name, roles in NEEDED.items()
    if roles <= _OPERATE | _TRAIN and not name.endswith("/PlanTraining")
)
"""RPCs that change something, or hand out weights: the audit log has them."""


def parse_roles(names: list[str]) -> Roles:
    """Roles by their names. Raises InvalidInput: none, or an unknown one."""
    known = ", ".join(AccessRole)
    if not names:
        raise InvalidInput(f"the key has no role: give one or more of {known}", field="roles")
    for name in names:
        if name not in set(AccessRole):
            raise InvalidInput(f"{name!r} is no role: give one or more of {known}", field="roles")
    return frozenset(map(AccessRole, names))
