"""Bytes of callers, and replies of other services."""

import asyncio
import json

from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from PIL import Image
from starlette.requests import Request

from protos.mpa.v1 import training_pb2
from services.core.contract import Contract
from services.core.errors import Overloaded, Unavailable
from services.core.reviews import checked_review
from services.engines.images import ALL_FORMATS, decode, most_bytes
from services.engines.openai.chat import ChatCompletions
from services.engines.openai.prices import FREE
from services.engines.openai.settings import OpenAISettings
from services.orchestrator.ui.forms import parse_form
from services.rpc.fields import check_fields
from services.rpc.http.completions.body import read_body
from services.rpc.http.completions.images import read_data_url
from services.rpc.http.completions.request import chat_question, image_url
from services.rpc.http.form import read_form
from services.rpc.http.limits import Quota
from services.rpc.items import check_items, first_id
from services.rpc.limits import check_question, check_template
from services.rpc.messages import apart
from services.rpc.status import from_status, to_status
from services.rpc.wire import contract_from_proto, decoding_from_proto
from services.student.http import answer_request
from tests.attacks.bystander import IMAGE
from tests.attacks.fuzzing import CHAT, FUZZED, GRPC_METHODS, POSTED, grpc_request
from tests.parsers.parser import Parser
from tests.pictures import bomb_webp, encoded

UPLOADS = Quota("bytes", 2**30, 2**30)


def image(data):
    most_bytes(data)
    return decode(data, ALL_FORMATS)


def pictures():
    square = Image.new("RGB", (9, 7), "teal")
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF")
    modes = ("1", "L", "LA", "P", "RGBA", "I;16")
    turned = Image.Exif()
    turned[0x112] = 6
    return (
        *(encoded(square, kind) for kind in kinds),
        *(encoded(Image.new(mode, (5, 5)), "PNG") for mode in modes),
        encoded(square, "JPEG", progressive=True, exif=turned),
        encoded(square, "WEBP", lossless=True),
        encoded(square, "TIFF", compression="tiff_lzw"),
        bomb_webp(),
    )


def conversation(data):
    chat = read_body(data)
    chat_question(chat)
    return read_data_url(image_url(chat))


def form(kind):
    """The fields of a body of that content type, as a message."""

    async def read(data):
        messages = iter([{"type": "http.request", "body": data, "more_body": False}])

        async def receive():
            return next(messages)

        scope = {"type": "http", "headers": [(b"content-type", kind)], "client": None}
        async with read_form(Request(scope, receive), UPLOADS) as found:
            check_fields(answer_request(found))

    loop = asyncio.new_event_loop()
    return lambda data: loop.run_until_complete(read(data))


def review(data):
    """A form of the explorer."""
    fields = parse_form(data)
    return checked_review(
        fields.get("reviewer", ""), fields.get("verdict", ""), fields.get("correction", "")
    )


def call(data):
    """A message of the method that the first byte chooses, as the services read it."""
    method = FUZZED[GRPC_METHODS[data[0] % len(GRPC_METHODS)]] if data else FUZZED[GRPC_METHODS[0]]
    kind = method.input_type._concrete_class
    check_items(kind, data[1:])
    first_id(kind, data[1:])
    message = kind.FromString(data[1:])
    items = apart(message) if hasattr(message, "more") else [message]
    for item in items:
        check_fields(item)
        _domain(item.request if hasattr(item, "request") else item)


def _domain(message):
    if hasattr(message, "decoding"):
        decoding_from_proto(message.decoding)
    if hasattr(message, "question"):
        check_question(message.question)
    if hasattr(message, "template"):
        check_template(message.template, "template")
    if isinstance(message, training_pb2.TrainRequest):
        contract_from_proto(message.contract, Contract()).require_servable()


def calls():
    """The first requests of the fuzz lane."""
    sent = [grpc_request(number) for number in range(100)]
    return tuple(
        bytes([GRPC_METHODS.index(each.method)]) + message
        for each in sent
        for message in each.messages
    )


def example(path):
    return json.dumps(POSTED[path]["example"]).encode()


def statuses():
    errors = (Overloaded("full", retry_after_s=2), Unavailable("away"))
    return tuple(to_status(error).SerializeToString() for error in errors)


COMPLETION = {
    "choices": [{"message": {"role": "assistant", "content": "teal"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {}},
}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    + IMAGE
    + b'\r\n--b\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat is 1?\r\n--b--\r\n'
)
REQUESTS = {
    "image": lambda: Parser(image, pictures(), (MemoryError,)),
    "conversation": lambda: Parser(conversation, (example(CHAT),)),
    "form": lambda: Parser(form(b"multipart/form-data; boundary=b"), (FORM,)),
    "review": lambda: Parser(review, (b"verdict=correct&correction=a+%C3%B6&reviewer=Ann",)),
    "json": lambda: Parser(form(b"application/json"), (example("/v1/vqa"),)),
    "call": lambda: Parser(call, calls(), (DecodeError,)),
    "status": lambda: Parser(
        lambda data: from_status(status_pb2.Status.FromString(data)), statuses(), (DecodeError,)
    ),
    "completion": lambda: Parser(
        ChatCompletions("m", OpenAISettings(), FREE).reply, (json.dumps(COMPLETION).encode(),)
    ),
}
"""Functions that make the readers."""
