"""The OpenAPI document of the student's routes, and requests that are made from it."""

import asyncio
import os
import sys

import httpx
import pytest
from starlette.routing import Route

from services.rpc.http.completions.openapi import openapi
from tests.e2e.processes import ROOT
from tests.serving import fake_student_settings
from tests.student.over_http import student_over_http

VALUES = "tests.student.openapi_values"


async def test_the_document_names_every_route_and_its_example_is_answered(tmp_path):
    async with (
        student_over_http(fake_student_settings(tmp_path, skill=1.0)) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        document = (await http.get("/openapi.json")).json()
        body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]
        example = body["content"]["application/json"]["example"]
        assert (await http.post("/v1/chat/completions", json=example)).status_code == 200
    assert document == openapi()
    routes = [route for route in served.app.routes if isinstance(route, Route)]
    assert {route.path.replace(":path", "") for route in routes} == set(document["paths"])
    for route in routes:
        methods = {method.lower() for method in route.methods or ()} - {"head"}
        assert methods <= set(document["paths"][route.path.replace(":path", "")])


@pytest.mark.slow
async def test_requests_made_from_the_document_find_no_fault(tmp_path):
    """schemathesis: valid and invalid requests, every reply as the document describes it."""
    async with student_over_http(fake_student_settings(tmp_path, skill=1.0)) as served:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"]
        options = ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--no-color"]
        fixed = ["--seed", "1", "--request-timeout", "30"]
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            *fixed,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": VALUES},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
