"""Clients of the two services: typed results, an image sent once and then named, a deadline for each call.

What an orchestrator asks by the million goes over bidirectional streams (bulk.py); the rest are unary calls.
"""

from services.rpc.client.replies import (
    NOTHING_KNOWN,
    AnnotationReply,
    AnswerReply,
    Picture,
    Provenance,
    TeacherModel,
)
from services.rpc.client.student import (
    StudentClient,
    StudentVersion,
    TrainedVersion,
    VersionPointers,
)
from services.rpc.client.teacher import TeacherClient
from services.rpc.client.training import TrainingState

__all__ = [
    "NOTHING_KNOWN",
    "AnnotationReply",
    "AnswerReply",
    "Picture",
    "Provenance",
    "StudentClient",
    "StudentVersion",
    "TeacherClient",
    "TeacherModel",
    "TrainedVersion",
    "TrainingState",
    "VersionPointers",
]
