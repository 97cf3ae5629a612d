"""Thousands of requests, each a function of its number, so that a failed one can be repeated.

gRPC gets three kinds: noise, messages of the contract with odd values in every field, and such
messages with changed bytes. HTTP gets requests of valid and odd parts, some with changed bytes.
"""

import base64
import json
import math
import os
import random

from tests.attacks.bystander import IMAGE, SHA256
from tests.attacks.outcomes import METHODS
from tests.pictures import bomb_png, bomb_webp, png

SEED = os.environ.get("MPA_FUZZ_SEED", "1")
DELETE = "/google.longrunning.Operations/DeleteOperation"
GRPC_METHODS = sorted(set(METHODS) - {DELETE})
IMAGES = (IMAGE, png("red", (8, 8)), b"", b"x", IMAGE[:60], bomb_png(), bomb_webp(), bytes(1_000))
STRINGS = (
    "", "v1", "v2", "v²", "what is 1?", "{question}", "{question}" * 3, "vqa", "ocr", SHA256,
    "0", "-1", "²", "1e400", "operations/1", "../../etc/passwd", "a/b", "\0", "\ufeff", "\u2028",
    "\u0085", "\u202e", "😀" * 50, "x" * 5_000, "%s%n{}", "token", "sample",
    "http://127.0.0.1:9/", "<|image_pad|>", "Question: a\nAnswer: b",
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e308, 5e-324, math.nan, math.inf, -math.inf)
PATHS = ("/v1/vqa",) * 12 + (
    "/v1/annotate",
    "/v1/chat/completions",
    "/v1/models/v1",
    "/openapi.json",
    "/v1/",
    "/",
    "/livez",
    "/readyz",
    "/docs.json",
    "/v1/vqa/",
    "/v1/../v1/vqa",
    "/%00",
    "/x?a=%ff",
)
TYPES = (
    "application/json", "application/json; charset=utf-16", "application/json; charset=klingon",
    "", "text/plain", "multipart/form-data; boundary=b", "multipart/form-data",
    "multipart/form-data; boundary=\"", "multipart/mixed; boundary=b",
)  # fmt: skip
HEADERS = (
    "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1",
    "Expect: 100-continue", "Content-Encoding: gzip", "Upgrade: h2c", "X-Request-Id: \x7f",
    "Accept: \xff", "Cookie: a=b; c", "Range: bytes=0-", "Connection: upgrade",
    "X-" + "y" * 500 + ": z",
)  # fmt: skip
VALUES = (None, True, 0, -1, 10**30, 1e308, "", [], {}, [[]], {"a": None}, *STRINGS, "\ud800")


def chance_of(kind, number):
    return random.Random(f"{SEED} {kind} {number}")


def changed(chance, data):
    """The data with some bytes replaced, removed, added or repeated, or with its end cut off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.choice(
                    (b"\0", b"\xff" * 9, b"\x80", b"\r\n", chance.randbytes(chance.randint(1, 40)))
                )
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 64)]
            case 4 if chance.random() < 0.2:
                del data[at:]
    return bytes(data)


def integer(chance, field):
    bits = 64 if "64" in _type_name(field) else 32
    is_unsigned = _type_name(field).startswith(("U", "FIXED"))
    low, high = (0, 2**bits - 1) if is_unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return chance.choice((0, 1, 2, 32, 1_000, low, high, chance.randint(low, high)))


def _type_name(field):
    return next(
        name
        for name in dir(field)
        if name.startswith("TYPE_") and getattr(field, name) == field.type
    )[5:]


def value(chance, field, depth):
    """An odd value of the field's type."""
    if field.message_type is not None:
        return message(chance, field.message_type, depth + 1)
    if field.type == field.TYPE_STRING:
        return chance.choice(STRINGS)
    if field.type == field.TYPE_BYTES:
        return chance.choice(IMAGES)
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return chance.choice(FLOATS)
    if field.type == field.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return chance.choice((0, 1, 2, 999, -1))
    return integer(chance, field)


def message(chance, descriptor, depth=0):
    """A message of that type with random fields."""
    made = descriptor._concrete_class()
    for field in descriptor.fields:
        if chance.random() < 0.35 or depth > 3:
            continue
        if not field.is_repeated:
            given = value(chance, field, depth)
            getattr(made, field.name).CopyFrom(
                given
            ) if field.message_type is not None else setattr(made, field.name, given)
        elif not field.message_type or not field.message_type.GetOptions().map_entry:
            getattr(made, field.name).extend(
                value(chance, field, depth) for _ in range(chance.randrange(3))
            )
    return made


def grpc_request(number):
    """A method and the bytes of each of its messages."""
    chance = chance_of("gRPC", number)
    name = chance.choice(GRPC_METHODS)
    method = METHODS[name]
    sent = []
    for _ in range(chance.randint(1, 4) if method.client_streaming else 1):
        kind = chance.random()
        data = (
            message(chance, method.input_type).SerializeToString()
            if kind > 0.2
            else chance.randbytes(chance.randrange(200))
        )
        sent.append(changed(chance, data) if kind > 0.6 else data)
    return name, sent


def _json_body(chance):
    image = IMAGE if chance.random() < 0.6 else chance.choice(IMAGES)
    fields = {
        "image": base64.b64encode(image).decode()
        if chance.random() < 0.9
        else chance.choice(VALUES)
    }
    for name in ("question", "question", "version", "task", "template", chance.choice(STRINGS)):
        if chance.random() < 0.4:
            fields[name] = chance.choice(VALUES)
    return json.dumps(fields).encode()


def _form_body(chance):
    parts = b""
    names = ["image", "question"] if chance.random() < 0.5 else []
    for name in names + chance.sample(
        ("image", "question", "version", "task", "x" * 300), chance.randint(0, 3)
    ):
        is_file = name == "image" and chance.random() < 0.8
        content = chance.choice((IMAGE, *IMAGES)) if is_file else chance.choice(STRINGS).encode()
        file = b'; filename="a"' if is_file else b""
        parts += b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
            name.encode(),
            file,
            content,
        )
    return parts + chance.choice((b"--b--\r\n", b"--b--\r\n", b"", b"--c--\r\n"))


def http_request(number):
    """The bytes of a request."""
    chance = chance_of("HTTP", number)
    method = (
        "POST"
        if chance.random() < 0.9
        else chance.choice(("GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "ATTACK"))
    )
    content_type = (
        chance.choice(TYPES) if chance.random() < 0.3 else chance.choice((TYPES[0], TYPES[5]))
    )
    body = _form_body(chance) if "multipart" in content_type else _json_body(chance)
    if chance.random() < 0.3:
        body = changed(chance, body)
    lines = [
        f"{method} {chance.choice(PATHS)} HTTP/1.1",
        "Host: a",
        "Connection: close",
        f"Content-Type: {content_type}",
    ]
    lines += chance.sample(HEADERS, chance.randint(1, 3)) if chance.random() < 0.2 else []
    lines += [f"Content-Length: {len(body)}"] if chance.random() < 0.97 else []
    whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return changed(chance, whole) if chance.random() < 0.2 else whole
