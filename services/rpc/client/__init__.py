"""Clients of the two services, with typed results and a deadline for each call.

An image is sent once and then named by its hash. Annotations and answers travel over bidirectional
streams (bulk.py); all other calls are unary.
"""

from services.rpc.client.replies import (
    AnnotationReply,
    AnswerReply,
    FollowerStatus,
    Picture,
    Promotion,
    StoredVersion,
    StudentVersion,
    TeacherModel,
    TrainedVersion,
    TrainingPlan,
    TrainingState,
    VersionList,
    VersionPointers,
)
from services.rpc.client.roles import AnsweringStudent, Student, Teacher
from services.rpc.client.student import StudentClient
from services.rpc.client.teacher import TeacherClient

__all__ = [
    "AnnotationReply",
    "AnswerReply",
    "AnsweringStudent",
    "FollowerStatus",
    "Picture",
    "Promotion",
    "StoredVersion",
    "Student",
    "StudentClient",
    "StudentVersion",
    "Teacher",
    "TeacherClient",
    "TeacherModel",
    "TrainedVersion",
    "TrainingPlan",
    "TrainingState",
    "VersionList",
    "VersionPointers",
]
