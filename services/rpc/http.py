"""What the HTTP faces share: reading an image with its fields, and errors as JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.core.errors import InvalidImage, InvalidInput, MpaError, Overloaded
from services.engines.images import MAX_BYTES
from services.rpc.status import http_status


async def read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    """The image and the text fields of a multipart form, or of a JSON object whose `image` is base64.

    Raises InvalidInput and InvalidImage.
    """
    if int(request.headers.get("content-length") or 0) > 2 * MAX_BYTES:
        raise _too_large()
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            upload = form.get("image")
            if not isinstance(upload, UploadFile):
                raise InvalidInput("the form has no file field `image`", field="image")
            return await upload.read(), fields
    try:
        body = json.loads(await _read_at_most(request, 2 * MAX_BYTES))
    except ValueError as error:
        raise InvalidInput(f"send multipart/form-data, or JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("image"), str):
        raise InvalidInput("the JSON object needs `image`, the file in base64", field="image")
    encoded = body.pop("image").rpartition("base64,")[2]
    try:
        image = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InvalidImage(f"`image` is not base64: {error}") from error
    return image, {name: str(value) for name, value in body.items()}


async def _read_at_most(request: Request, limit: int) -> bytes:
    """The body, also of a request that does not say how long it is."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large()
    return bytes(body)


def _too_large() -> InvalidImage:
    return InvalidImage(f"the request is too large: at most {MAX_BYTES:,} bytes of image are taken", reason="IMAGE_TOO_LARGE")


def endpoint(handle: Callable[[Request], Awaitable[Message]]) -> Callable[[Request], Awaitable[Response]]:
    """The reply's message as JSON; MpaError as {"error": {"reason", "message"}} with its status."""

    async def respond(request: Request) -> Response:
        try:
            message = await handle(request)
        except MpaError as error:
            headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if isinstance(error, Overloaded) else {}
            body = {"error": {"reason": error.reason, "message": str(error)}}
            return JSONResponse(body, http_status(error), headers)
        return JSONResponse(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))

    return respond
