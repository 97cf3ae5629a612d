"""The OpenAPI document of a student's routes, made from the types that read their requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from services.rpc.fields import LONGEST_NAME
from services.rpc.http.completions.body import ChatBody
from services.rpc.http.form import MOST_FIELDS
from services.rpc.limits import MAX_QUESTION_CHARS

IMAGE_BYTES = "image-bytes"
"""Format of the base64 of an image file."""
_REF = "#/components/schemas/{model}"
_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_STATUSES = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The service needs a key, or does not know this one.",
    "403": "The key lacks the role.",
    "404": "There is no such model.",
    "408": "The request was not complete in time.",
    "413": "The request or its image is too large.",
    "429": "There is more work than room: ask again after `Retry-After` seconds.",
    "431": "The headers are too large.",
    "503": "The service is loading, or an engine is being restarted.",
    "504": "There was no answer in time.",
}


def _object(required: Iterable[str] | None = None, **properties: dict[str, Any]) -> dict[str, Any]:
    """An object, all of whose properties are required unless `required` names them."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_USAGE = _object(
    ("prompt_tokens", "completion_tokens"),
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    total_tokens=_COUNT,
)
_ERROR = _object(
    error=_object(
        message=_TEXT, reason=_TEXT, type=_TEXT, param=_nullable(_TEXT), code=_nullable(_TEXT)
    )
)
_MODEL = _object(
    id=_TEXT,
    object={"const": "model"},
    created=_COUNT,
    owned_by=_TEXT,
    root=_TEXT,
    parent=_nullable(_TEXT),
)
_CHOICE = _object(
    index=_COUNT,
    message=_object(role={"const": "assistant"}, content=_TEXT, refusal={"type": "null"}),
    logprobs=_nullable({"type": "object"}),
    finish_reason={"enum": ["stop", "length", "content_filter"]},
)
_COMPLETION = _object(
    id=_TEXT,
    object={"const": "chat.completion"},
    created=_COUNT,
    model=_TEXT,
    system_fingerprint=_TEXT,
    choices=_array(_CHOICE),
    usage=_USAGE,
)
_ANSWER = _object(
    ("answer", "version", "usage", "finish_reason"),
    answer=_TEXT,
    version=_TEXT,
    usage=_object((), prompt_tokens=_COUNT, completion_tokens=_COUNT),
    finish_reason=_TEXT,
)
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""A red PNG."""
_CONVERSATION = {
    "model": "live",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What color is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
            ],
        }
    ],
}
_BLANK = r"\s\x1c-\x1f\x85"
_QUESTION = {
    "type": "string",
    "pattern": f"[^{_BLANK}]",
    "minLength": 1,
    "maxLength": MAX_QUESTION_CHARS,
}
_VERSION = {"type": "string", "pattern": r"^[^\x00]*$", "maxLength": LONGEST_NAME}


def openapi() -> dict[str, Any]:
    """The document."""
    _, schemas = models_json_schema([(ChatBody, "validation")], ref_template=_REF)
    events = {"schema": _object(("data",), data=_TEXT)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Model Parity Aligner: student",
            "version": "1",
            "description": "Answers about images, by the live version of a student.",
        },
        "security": [{}, {"key": []}],
        "paths": {
            "/v1/chat/completions": {
                "post": _operation(
                    "Answer the last turn of a conversation about an image",
                    {"application/json": {**_ref("ChatBody"), "example": _CONVERSATION}},
                    {"application/json": _ref("Completion"), "text/event-stream": events},
                )
            },
            "/v1/models": {
                "get": _operation("List the models", None, {"application/json": _ref("ModelList")})
            },
            "/v1/models/{model}": {
                "parameters": [
                    {"name": "model", "in": "path", "required": True, "schema": {**_TEXT}}
                ],
                "get": _operation("Show a model", None, {"application/json": _ref("Model")}),
            },
            "/v1/vqa": {
                "post": _operation(
                    "Answer a question about an image",
                    {
                        "application/json": {
                            "schema": _vqa(
                                _TEXT | {"contentEncoding": "base64", "format": IMAGE_BYTES}
                            ),
                            "example": {"image": _PIXEL, "question": "What color is it?"},
                        },
                        "multipart/form-data": {
                            "schema": {
                                **_vqa(_TEXT | {"format": "binary"}),
                                "maxProperties": 1 + MOST_FIELDS,
                            }
                        },
                    },
                    {"application/json": _ref("Answer")},
                )
            },
            "/openapi.json": {
                "get": _operation(
                    "Show this document", None, {"application/json": {"schema": {"type": "object"}}}
                )
            },
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                **schemas["$defs"],
                "Completion": _COMPLETION,
                "Model": _MODEL,
                "ModelList": _object(
                    object={"const": "list"}, data=_array({"$ref": _REF.format(model="Model")})
                ),
                "Answer": _ANSWER,
                "Error": _ERROR,
            },
        },
    }


def _vqa(image: dict[str, Any]) -> dict[str, Any]:
    fields = _object(("image", "question"), image=image, question=_QUESTION, version=_VERSION)
    return {**fields, "additionalProperties": _TEXT}


def _ref(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model)}}


def _operation(summary: str, body: dict[str, Any] | None, reply: dict[str, Any]) -> dict[str, Any]:
    refusals = {
        status: {"description": text, "content": {"application/json": _ref("Error")}}
        for status, text in _STATUSES.items()
    }
    request = {"requestBody": {"required": True, "content": body}} if body else {}
    return {
        "summary": summary,
        **request,
        "responses": {"200": {"description": summary, "content": reply}, **refusals},
    }
