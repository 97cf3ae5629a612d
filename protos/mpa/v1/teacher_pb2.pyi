from google.rpc import status_pb2 as _status_pb2
from protos.mpa.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model_fingerprint", "serving_sha256", "engine", "preset", "model", "tariff", "pixel_budget", "max_in_flight")
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SERVING_SHA256_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TARIFF_FIELD_NUMBER: _ClassVar[int]
    PIXEL_BUDGET_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    model_fingerprint: str
    serving_sha256: str
    engine: str
    preset: str
    model: str
    tariff: Tariff
    pixel_budget: str
    max_in_flight: int
    def __init__(self, model_fingerprint: _Optional[str] = ..., serving_sha256: _Optional[str] = ..., engine: _Optional[str] = ..., preset: _Optional[str] = ..., model: _Optional[str] = ..., tariff: _Optional[_Union[Tariff, _Mapping]] = ..., pixel_budget: _Optional[str] = ..., max_in_flight: _Optional[int] = ...) -> None: ...

class Tariff(_message.Message):
    __slots__ = ("input_usd", "output_usd", "image_tokens")
    INPUT_USD_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_USD_FIELD_NUMBER: _ClassVar[int]
    IMAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    input_usd: float
    output_usd: float
    image_tokens: int
    def __init__(self, input_usd: _Optional[float] = ..., output_usd: _Optional[float] = ..., image_tokens: _Optional[int] = ...) -> None: ...

class AnnotateRequest(_message.Message):
    __slots__ = ("image", "task", "prompt", "decoding", "guided")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    GUIDED_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    task: str
    prompt: str
    decoding: _types_pb2.Decoding
    guided: bool
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., task: _Optional[str] = ..., prompt: _Optional[str] = ..., decoding: _Optional[_Union[_types_pb2.Decoding, _Mapping]] = ..., guided: bool = ...) -> None: ...

class AnnotateResponse(_message.Message):
    __slots__ = ("text", "question", "answer", "rejection", "model_fingerprint", "usage", "finish_reason", "system_fingerprint")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REJECTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    text: str
    question: str
    answer: str
    rejection: str
    model_fingerprint: str
    usage: _types_pb2.Usage
    finish_reason: _types_pb2.FinishReason
    system_fingerprint: str
    def __init__(self, text: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., rejection: _Optional[str] = ..., model_fingerprint: _Optional[str] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[_types_pb2.FinishReason, str]] = ..., system_fingerprint: _Optional[str] = ...) -> None: ...

class AnnotateStreamRequest(_message.Message):
    __slots__ = ("id", "request", "more", "takes_more", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: AnnotateRequest
    more: _containers.RepeatedCompositeFieldContainer[AnnotateStreamRequest]
    takes_more: bool
    traceparent: str
    def __init__(self, id: _Optional[str] = ..., request: _Optional[_Union[AnnotateRequest, _Mapping]] = ..., more: _Optional[_Iterable[_Union[AnnotateStreamRequest, _Mapping]]] = ..., takes_more: bool = ..., traceparent: _Optional[str] = ...) -> None: ...

class AnnotateStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error", "more", "takes_more")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    response: AnnotateResponse
    error: _status_pb2.Status
    more: _containers.RepeatedCompositeFieldContainer[AnnotateStreamResponse]
    takes_more: bool
    def __init__(self, id: _Optional[str] = ..., response: _Optional[_Union[AnnotateResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., more: _Optional[_Iterable[_Union[AnnotateStreamResponse, _Mapping]]] = ..., takes_more: bool = ...) -> None: ...

class TeacherServiceAnswerRequest(_message.Message):
    __slots__ = ("image", "question", "template", "decoding")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    question: str
    template: str
    decoding: _types_pb2.Decoding
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., question: _Optional[str] = ..., template: _Optional[str] = ..., decoding: _Optional[_Union[_types_pb2.Decoding, _Mapping]] = ...) -> None: ...

class TeacherServiceAnswerResponse(_message.Message):
    __slots__ = ("answer", "model_fingerprint", "usage", "finish_reason", "system_fingerprint")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    answer: str
    model_fingerprint: str
    usage: _types_pb2.Usage
    finish_reason: _types_pb2.FinishReason
    system_fingerprint: str
    def __init__(self, answer: _Optional[str] = ..., model_fingerprint: _Optional[str] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[_types_pb2.FinishReason, str]] = ..., system_fingerprint: _Optional[str] = ...) -> None: ...

class TeacherServiceAnswerStreamRequest(_message.Message):
    __slots__ = ("id", "request", "more", "takes_more", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: TeacherServiceAnswerRequest
    more: _containers.RepeatedCompositeFieldContainer[TeacherServiceAnswerStreamRequest]
    takes_more: bool
    traceparent: str
    def __init__(self, id: _Optional[str] = ..., request: _Optional[_Union[TeacherServiceAnswerRequest, _Mapping]] = ..., more: _Optional[_Iterable[_Union[TeacherServiceAnswerStreamRequest, _Mapping]]] = ..., takes_more: bool = ..., traceparent: _Optional[str] = ...) -> None: ...

class TeacherServiceAnswerStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error", "more", "takes_more")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TAKES_MORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    response: TeacherServiceAnswerResponse
    error: _status_pb2.Status
    more: _containers.RepeatedCompositeFieldContainer[TeacherServiceAnswerStreamResponse]
    takes_more: bool
    def __init__(self, id: _Optional[str] = ..., response: _Optional[_Union[TeacherServiceAnswerResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., more: _Optional[_Iterable[_Union[TeacherServiceAnswerStreamResponse, _Mapping]]] = ..., takes_more: bool = ...) -> None: ...
