"""Every RPC and every route has its roles. One without is denied."""

import pytest
from google.longrunning import operations_pb2  # noqa: F401  # for the pool of descriptors
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection
from starlette.routing import Route

from services.core.errors import InvalidInput
from services.rpc.access.roles import ANY_ROLE, NEEDED, OPEN, AccessRole, parse_roles
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.gate import OBSERVED
from services.rpc.images import ImageReceiver
from services.rpc.load_shedding import LoadShedder
from services.student.completions import StudentCompletions
from services.student.http import student_app
from services.student.servicers import SERVICES, StudentServicer
from services.student.tryout.desk import TryoutDesk
from services.student.tryout.routes import tryout_routes
from services.teacher.http import app as teacher_app
from services.teacher.servicer import SERVICE as TEACHER

NOT_SERVED = {"/google.longrunning.Operations/DeleteOperation"}


def rpcs():
    pool = descriptor_pool.Default()
    for service in (*SERVICES, TEACHER, "grpc.health.v1.Health", reflection.SERVICE_NAME):
        for method in pool.FindServiceByName(service).methods:
            yield f"/{service}/{method.name}"


def no_student():
    raise AssertionError("no route is called here")


COMPLETIONS = StudentCompletions(no_student, ImageReceiver(), LoadShedder())
APPS = (
    student_app(
        StudentServicer(no_student, ImageReceiver()),
        COMPLETIONS,
        ImageUrls(),
        tryout_routes(TryoutDesk(no_student, COMPLETIONS, ImageReceiver())),
    ),
    teacher_app,
)
ROUTES = {route.path for app in APPS for route in app.routes if isinstance(route, Route)}
ALL = {*rpcs(), *ROUTES, *OBSERVED} - NOT_SERVED


def test_everything_that_is_served_has_its_roles():
    assert ALL - NEEDED.keys() - OPEN == set()
    assert not OPEN & NEEDED.keys()


def test_health_and_the_empty_page_alone_are_open():
    assert {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/livez",
        "/healthz",
        "/readyz",
        "/try",
        "/try/tryout.css",
        "/try/tryout.js",
    } == ALL & OPEN


def test_no_method_needs_nothing():
    assert all(roles and roles <= ANY_ROLE for roles in NEEDED.values())


@pytest.mark.parametrize("change", ["Load", "Promote", "Rollback", "Delete"])
def test_whoever_asks_reads_or_trains_changes_no_version(change):
    assert NEEDED[f"/mpa.v1.VersionService/{change}Version"] == {AccessRole.OPERATE}


def test_roles_have_names():
    assert parse_roles(["ask", "train"]) == {AccessRole.ASK, AccessRole.TRAIN}
    with pytest.raises(InvalidInput, match="'admin' is no role"):
        parse_roles(["admin"])
