"""Thousands of requests, each a function of its number, so that a failed one can be repeated.

gRPC gets three kinds: noise, messages with odd values in every field, made from the descriptors of
the contract, and such messages with changed bytes. HTTP gets requests made from the schemas of the
OpenAPI document, with odd values anywhere in them, some with changed bytes. KEY-ROLE stands for the
key of a role. (schemathesis and hypothesis take 20 to 100 ms for a request, this takes 0.2 ms.)
"""

import base64
import json
import math
import os
import random
from dataclasses import dataclass

from services.rpc.http.completions.openapi import openapi
from tests.attacks.bystander import IMAGE, SHA256
from tests.attacks.outcomes import FURTHER, METHODS
from tests.pictures import bomb_png, bomb_webp, png

SEED = os.environ.get("MPA_FUZZ_SEED", "1")
FUZZED = {**METHODS, **FURTHER}
GRPC_METHODS = sorted(FUZZED)
ROLES = ("ask", "operate", "train", "read")
KEYS = tuple(f"Bearer KEY-{role}" for role in ROLES)

IMAGES = (IMAGE, png("red", (8, 8)), b"", b"x", IMAGE[:60], bomb_png(), bomb_webp(), bytes(1_000))
STRINGS = (
    "", "v1", "v2", "v²", "live", "what is 1?", "{question}", "{question}" * 3, "vqa", "ocr",
    SHA256, "0", "-1", "²", "1e400", "operations/1", "../../etc/passwd", "a/b", "\0", "\ufeff",
    "\u2028", "\u0085", "\u202e", "😀" * 50, "x" * 5_000, "%s%n{}", "token", "sample",
    "http://127.0.0.1:9/", "https://localhost/a.png", "<|image_pad|>", "Question: a\nAnswer: b",
)  # fmt: skip
USUAL = {
    "data": IMAGE, "image": IMAGE, "sha256": SHA256, "image_sha256": SHA256,
    "question": "what is 1?", "answer": "one", "template": "{question}", "task": "vqa",
    "version": "", "name": "v1", "base_version": "", "id": "1", "max_new_tokens": 4,
    "temperature": 0.5, "top_p": 0.9, "seed": 7,
}  # fmt: skip
"""Values of fields that are accepted."""
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e308, 5e-324, math.nan, math.inf, -math.inf)
METADATA = (
    *(("authorization", key) for key in KEYS), ("authorization", "Bearer mpa-0-0"),
    ("authorization", "Basic YTpi"), ("x-request-id", "a" * 300), ("x-request-id", "a b"),
    ("mpa-traffic", "check"), ("traceparent", "00-0-0-0"), ("mpa-bin", b"\xff\0"),
    ("accept-language", "x"), ("x-forwarded-for", "127.0.0.1"),
)  # fmt: skip
PATHS = (
    "/v1/models/v1", "/v1/models/live", "/v1/models/%00", "/v1/", "/", "/livez", "/readyz",
    "/healthz", "/metrics", "/docs.json", "/v1/vqa/", "/v1/../v1/vqa", "/%00", "/x?a=%ff",
)  # fmt: skip
TYPES = (
    "application/json", "application/json; charset=utf-16", "application/json; charset=klingon",
    "", "text/plain", "multipart/form-data; boundary=b", "multipart/form-data",
    "multipart/form-data; boundary=\"", "multipart/mixed; boundary=b",
)  # fmt: skip
HEADERS = (
    "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1",
    "Expect: 100-continue", "Content-Encoding: gzip", "Upgrade: h2c", "X-Request-Id: \x7f",
    "Accept: \xff", "Cookie: a=b; c", "Range: bytes=0-", "Connection: upgrade",
    "X-Request-Timeout: 60", "X-Request-Timeout: nan", "X-" + "y" * 500 + ": z",
)  # fmt: skip
VERBS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "ATTACK")
VALUES = (None, True, 0, -1, 2.5, 10**30, 1e308, "", [], {}, [[]], {"a": None}, "\ud800", *STRINGS)


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


def one_in(chance, many):
    return chance.randrange(many) == 0


def some(chance, values, most):
    return chance.sample(values, chance.randint(0, most))


# gRPC


@dataclass(frozen=True)
class GrpcRequest:
    """A call: its method, the bytes of each of its messages, its metadata."""

    method: str
    messages: list
    metadata: tuple


def message(chance, descriptor, depth=0):
    """A message of a type with some of its fields, one of each oneof."""
    left_out = {
        field.name
        for oneof in descriptor.oneofs
        for field in chance.sample(list(oneof.fields), len(oneof.fields) - 1)
    }
    given = {
        field.name: (
            [value(chance, field, depth) for _ in range(chance.randrange(3))]
            if field.is_repeated
            else value(chance, field, depth)
        )
        for field in descriptor.fields
        if field.name not in left_out and not is_too_deep(field, depth) and not one_in(chance, 3)
    }
    return descriptor._concrete_class(**given)


def is_too_deep(field, depth):
    kind = field.message_type
    return kind is not None and (depth > 3 or kind.GetOptions().map_entry)


def value(chance, field, depth):
    """A value of a field: a message, a usual one, or an odd one."""
    if field.message_type is not None:
        return message(chance, field.message_type, depth + 1)
    if field.name in USUAL and not one_in(chance, 3):
        return USUAL[field.name]
    if field.type == field.TYPE_BYTES:
        return chance.choice(IMAGES)
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            return chance.choice(STRINGS)
        case field.CPPTYPE_DOUBLE | field.CPPTYPE_FLOAT:
            return chance.choice(FLOATS)
        case field.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case field.CPPTYPE_ENUM:
            return chance.choice((0, 1, 2, 999, -1))
        case kind:
            bits = 64 if kind in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
            is_unsigned = kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
            low = 0 if is_unsigned else -(2 ** (bits - 1))
            high = low + 2**bits - 1
            return chance.choice((0, 1, 2, 32, 1_000, low, high, chance.randint(low, high)))


def grpc_request(number):
    chance = chance_of("gRPC", number)
    name = chance.choice(GRPC_METHODS)
    method = FUZZED[name]
    sent = []
    for _ in range(chance.randint(1, 4) if method.client_streaming else 1):
        kind = chance.random()
        data = (
            message(chance, method.input_type).SerializeToString()
            if kind > 0.2
            else chance.randbytes(chance.randrange(200))
        )
        sent.append(changed(chance, data) if kind > 0.6 else data)
    metadata = some(chance, METADATA, 3) if one_in(chance, 3) else ()
    return GrpcRequest(name, sent, tuple(metadata))


# HTTP

DOCUMENT = openapi()
CHAT, VQA, ANNOTATE = "/v1/chat/completions", "/v1/vqa", "/v1/annotate"
POSTED = {
    path: item["post"]["requestBody"]["content"]["application/json"]
    for path, item in DOCUMENT["paths"].items()
    if "post" in item
}
"""Schema and example of each JSON body."""
FIELDS = ("image", "question", "version", "task")


def json_value(chance, schema):
    """A value of a JSON schema, or an odd one."""
    if one_in(chance, 60):
        return chance.choice(VALUES)
    match schema:
        case {"$ref": ref}:
            return json_value(chance, DOCUMENT["components"]["schemas"][ref.rpartition("/")[2]])
        case {"anyOf": branches} | {"oneOf": branches} | {"enum": branches}:
            return json_value(chance, chance.choice(branches))
        case {"const": value}:
            return value
        case {"format": "image-url"}:
            return f"data:image/png;base64,{image_text(chance)}"
        case {"format": "image-bytes"}:
            return image_text(chance)
        case {"type": "object"}:
            return {
                name: json_value(chance, each)
                for name, each in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or one_in(chance, 3)
            }
        case {"type": "array"}:
            most = schema.get("maxItems", 4)
            return [json_value(chance, schema["items"]) for _ in range(chance.randint(0, most))]
        case {"type": "integer"}:
            low, high = schema.get("minimum", 0), schema.get("maximum", 2**31)
            return chance.choice((low, low + 1, high, chance.randint(low, high)))
        case {"type": "number"}:
            return chance.uniform(schema.get("minimum", 0), schema.get("maximum", 1))
        case {"type": "boolean"}:
            return chance.random() < 0.5
        case {"type": "null"}:
            return None
        case {"type": "string"}:
            return chance.choice(STRINGS)
    return schema  # an entry of an enumeration


def image_text(chance):
    image = chance.choice(IMAGES) if one_in(chance, 6) else IMAGE
    return base64.b64encode(image).decode()


def json_body(chance, path):
    posted = POSTED.get(path) or POSTED[VQA]
    body = json_value(chance, posted["schema"])
    if path == CHAT and isinstance(body, dict) and isinstance(body.get("messages"), list):
        body["messages"] += [] if one_in(chance, 4) else posted["example"]["messages"]
        body["model"] = chance.choice(("live", "v1", None, *STRINGS[:4]))
        body["stream"] = "stream_options" in body or one_in(chance, 3)
        body["logprobs"] = "top_logprobs" in body or one_in(chance, 3)
    if path == VQA and isinstance(body, dict) and not one_in(chance, 3):
        body.pop("version", None)
    if path == ANNOTATE and isinstance(body, dict):
        body["task"] = chance.choice(("vqa", "ocr", *STRINGS[:8]))
    return json.dumps(body).encode()


def form_body(chance):
    parts = b""
    usual = ["image", "question"] if chance.random() < 0.5 else []
    for name in usual + some(chance, (*FIELDS, "x" * 300), 3):
        is_file = name == "image" and chance.random() < 0.8
        content = chance.choice((IMAGE, *IMAGES)) if is_file else chance.choice(STRINGS).encode()
        head = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
        parts += head % (name.encode(), b'; filename="a"' if is_file else b"") + content + b"\r\n"
    return parts + chance.choice((b"--b--\r\n", b"--b--\r\n", b"", b"--c--\r\n"))


def http_request(number):
    """The bytes of a request."""
    chance = chance_of("HTTP", number)
    verb, path = "POST", chance.choice((CHAT, CHAT, CHAT, VQA, VQA, VQA, ANNOTATE))
    kind = chance.choice((TYPES[0], TYPES[5])) if path != CHAT else TYPES[0]
    if one_in(chance, 4):
        verb, path = "GET", chance.choice((*DOCUMENT["paths"], *PATHS))
    kind = chance.choice(TYPES) if one_in(chance, 10) else kind
    body = b""
    if verb == "POST":
        body = form_body(chance) if "multipart" in kind else json_body(chance, path)
        body = changed(chance, body) if one_in(chance, 5) else body
    verb = chance.choice(VERBS) if one_in(chance, 12) else verb
    lines = [f"{verb} {path} HTTP/1.1", "Host: a", "Connection: close", f"Content-Type: {kind}"]
    lines += some(chance, HEADERS, 3) if one_in(chance, 5) else []
    lines += [f"Authorization: {chance.choice(KEYS)}"] if one_in(chance, 3) else []
    lines += [] if one_in(chance, 30) else [f"Content-Length: {len(body)}"]
    whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return changed(chance, whole) if one_in(chance, 6) else whole
