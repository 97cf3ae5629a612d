from google.rpc import status_pb2 as _status_pb2
from protos.mpa.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnswerRequest(_message.Message):
    __slots__ = ("image", "question", "template", "decoding", "version", "scored")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORED_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    question: str
    template: str
    decoding: _types_pb2.Decoding
    version: str
    scored: bool
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., question: _Optional[str] = ..., template: _Optional[str] = ..., decoding: _Optional[_Union[_types_pb2.Decoding, _Mapping]] = ..., version: _Optional[str] = ..., scored: bool = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("answer", "version", "usage", "finish_reason", "logprob")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    answer: str
    version: str
    usage: _types_pb2.Usage
    finish_reason: _types_pb2.FinishReason
    logprob: float
    def __init__(self, answer: _Optional[str] = ..., version: _Optional[str] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[_types_pb2.FinishReason, str]] = ..., logprob: _Optional[float] = ...) -> None: ...

class AnswerStreamRequest(_message.Message):
    __slots__ = ("id", "request", "more", "takes_more", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: AnswerRequest
    more: _containers.RepeatedCompositeFieldContainer[AnswerStreamRequest]
    takes_more: bool
    traceparent: str
    def __init__(self, id: _Optional[str] = ..., request: _Optional[_Union[AnswerRequest, _Mapping]] = ..., more: _Optional[_Iterable[_Union[AnswerStreamRequest, _Mapping]]] = ..., takes_more: bool = ..., traceparent: _Optional[str] = ...) -> None: ...

class AnswerStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error", "more", "takes_more")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    response: AnswerResponse
    error: _status_pb2.Status
    more: _containers.RepeatedCompositeFieldContainer[AnswerStreamResponse]
    takes_more: bool
    def __init__(self, id: _Optional[str] = ..., response: _Optional[_Union[AnswerResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., more: _Optional[_Iterable[_Union[AnswerStreamResponse, _Mapping]]] = ..., takes_more: bool = ...) -> None: ...
