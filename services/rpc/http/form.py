"""The image and text fields of a request's body, read and parsed within limits, never on disk."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from services.core.errors import InvalidImage, InvalidInput, MpaError
from services.engines.images import MAX_BYTES
from services.rpc.access.caller import account
from services.rpc.http.limits import Quota
from services.rpc.http.replies import TOO_LARGE

MOST_FIELDS = 16
MOST_FIELD_BYTES = 128 * 1024
MOST_FORM_BYTES = MAX_BYTES + 2 * MOST_FIELD_BYTES
MOST_JSON_BYTES = MAX_BYTES * 4 // 3 + 2 * MOST_FIELD_BYTES
MOST_JSON_MARKS = 2_000
"""Most commas and brackets of a JSON body: base64 has none, a question few. Without this limit,
millions of values would take 30 times their size in memory."""

Form = tuple[bytes, dict[str, str]]


@asynccontextmanager
async def read_form(request: Request, uploads: Quota) -> AsyncIterator[Form]:
    """The image and text fields of a multipart form, or of a JSON object with a base64 `image`.

    The body counts against `uploads` until the context ends. Raises InvalidInput, InvalidImage and
    Overloaded.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    _require_utf8(options.get(b"charset", b"utf-8").decode("latin-1"))
    is_form = kind == b"multipart/form-data"
    async with counted_body(request, uploads, MOST_FORM_BYTES if is_form else MOST_JSON_BYTES) as (
        body
    ):
        yield await (_from_multipart(request, body) if is_form else _from_json(body))


@asynccontextmanager
async def counted_body(
    request: Request, uploads: Quota, most: int
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """The body in chunks, at most `most` bytes. It counts against `uploads` until the context ends.

    Raises InvalidInput and Overloaded.
    """
    caller = account(request.client.host if request.client else "")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
        raise _too_large(most)
    size = 0

    async def counted() -> AsyncGenerator[bytes, None]:
        nonlocal size
        async for chunk in request.stream():
            if size + len(chunk) > most:
                raise _too_large(most)
            uploads.take(caller, len(chunk))
            size += len(chunk)
            yield chunk

    try:
        yield counted()
    finally:
        uploads.give_back(caller, size)


async def read_json(body: AsyncGenerator[bytes, None], most_marks: int) -> bytearray:
    """The bytes of a JSON body. Raises InvalidInput: too many values in it."""
    read = bytearray()
    async for chunk in body:
        read += chunk
    if sum(map(read.count, b",[{")) > most_marks:
        raise InvalidInput(f"the JSON has more than {most_marks:,} commas and brackets: send less")
    return read


def _require_utf8(charset: str) -> None:
    try:
        is_utf8 = codecs.lookup(charset).name in ("utf-8", "ascii")
    except (LookupError, ValueError):
        is_utf8 = False
    if not is_utf8:
        raise InvalidInput(f"the charset is {charset[:64]!r}: send UTF-8", field="content-type")


class _Utf8Parser(MultiPartParser):
    """Refuses text that is not UTF-8; starlette's own parser reads it as Latin-1."""

    def on_part_end(self) -> None:
        self._current_part.data.decode()
        super().on_part_end()


async def _from_multipart(request: Request, stream: AsyncGenerator[bytes, None]) -> Form:
    parser = _Utf8Parser(
        request.headers, stream, max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
    )
    parser.spool_max_size = MOST_FORM_BYTES + 1  # in memory, where the quota counts it
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidInput(f"the form can't be read: {error.message}") from error
    except MpaError:
        raise
    except (ValueError, LookupError) as error:
        raise InvalidInput(f"the form can't be read: {error}") from error
    items = form.multi_items()
    uploads = [value for name, value in items if name == "image" and isinstance(value, UploadFile)]
    if not uploads:
        raise InvalidInput("the form has no file field `image`", field="image")
    return await uploads[0].read(), _texts(
        [(name, value) for name, value in items if name != "image"]
    )


async def _from_json(stream: AsyncGenerator[bytes, None]) -> Form:
    body = await read_json(stream, MOST_JSON_MARKS)
    try:
        pairs = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"send multipart/form-data, or JSON: {error}") from error
    names = [pair[0] for pair in pairs] if isinstance(pairs, list) and _are_pairs(pairs) else []
    if "image" not in names:
        raise InvalidInput("the JSON object needs `image`, the file in base64", field="image")
    fields = _texts(pairs)
    encoded = fields.pop("image").rpartition("base64,")[2]
    try:
        return base64.b64decode(encoded, validate=True), fields
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"`image` is not base64: {error}") from error


def _are_pairs(pairs: list[object]) -> bool:
    """Whether it was a JSON object, read as pairs; a JSON list contains no pairs."""
    return all(isinstance(pair, tuple) for pair in pairs)


def _texts(items: list[tuple[str, object]]) -> dict[str, str]:
    """Raises InvalidInput: a field that comes twice, is not a string, or is not Unicode."""
    fields: dict[str, str] = {}
    for name, value in items:
        if name in fields:
            raise InvalidInput(f"the field {name[:64]!r} comes twice", field=name[:64])
        if not isinstance(value, str):
            raise InvalidInput(f"the field {name[:64]!r} must be a text", field=name[:64])
        try:
            (name + value).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"the field {name[:64]!r} is no Unicode text: {error.reason}", field=name[:64]
            ) from error
        fields[name] = value
    return fields


def _too_large(most: int) -> InvalidInput:
    return InvalidInput(
        f"the request is larger than {most:,} bytes: send an image of at most {MAX_BYTES:,}",
        reason=TOO_LARGE,
    )
