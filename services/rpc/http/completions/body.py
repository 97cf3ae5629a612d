"""Body of POST /v1/chat/completions, as OpenAI documents it.

A field that is not here is ignored, as `vllm serve` does. A field that would change the reply and
that no engine here has is accepted only with the value that changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.core.errors import InvalidInput
from services.engines.model import MOST_ALTERNATIVES

MOST_CHOICES = 8
MOST_STOPS = 16
IMAGE_URL = "image-url"
"""Format, in the OpenAPI document, of a text that stands for an image."""
_LARGEST = 2**63 - 1
_REFUSED = (
    "tools",
    "functions",
    "response_format",
    "logit_bias",
    "modalities",
    "audio",
    "presence_penalty",
    "frequency_penalty",
)
_WHOLE = ("max_tokens", "max_completion_tokens", "seed", "n", "top_logprobs")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    url: str = Field(
        description="A data URI in base64, or an https URL of an allowed host.",
        json_schema_extra={"format": IMAGE_URL},
    )


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class UserMessage(_Strict):
    role: Literal["user"]
    content: str | list[ContentPart]


class OtherMessage(_Strict):
    """A message that is not part of the question. Its content is not read."""

    role: Literal["system", "developer", "assistant", "tool", "function"]


ChatMessage = Annotated[UserMessage | OtherMessage, Field(discriminator="role")]


class StreamOptions(_Strict):
    include_usage: bool | None = None


class TextFormat(_Strict):
    type: Literal["text"]


Stop = Annotated[str, Field(min_length=1, max_length=256)]


def _needs(field: str, kind: str, other: str) -> dict[str, Any]:
    """The schema of a field that, unless it is null, needs another one to be true."""
    return {
        "if": {"properties": {field: {"type": kind}}, "required": [field]},
        "then": {"properties": {other: {"const": True}}, "required": [other]},
    }


class ChatBody(_Strict):
    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                _needs("stream_options", "object", "stream"),
                _needs("top_logprobs", "integer", "logprobs"),
            ]
        }
    )
    model: str | None = Field(
        None,
        max_length=255,
        description='A version ("v3"), a pointer ("live", "candidate", "previous") or an alias.',
    )
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=_LARGEST)
    max_completion_tokens: int | None = Field(None, ge=1, le=_LARGEST)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-_LARGEST - 1, le=_LARGEST)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    response_format: TextFormat | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    presence_penalty: float | None = Field(None, ge=0, le=0)
    frequency_penalty: float | None = Field(None, ge=0, le=0)

    @field_validator(*_WHOLE, mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """5.0 as 5: JSON does not tell them apart."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


def read_body(data: bytes | bytearray) -> ChatBody:
    """Raises InvalidInput with the name of the wrong field, such as "messages[0].content"."""
    try:
        return ChatBody.model_validate_json(data)
    except ValidationError as error:
        fault = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
        path = _path(fault["loc"])
        name = path.partition("[")[0].partition(".")[0]
        if name in _REFUSED:
            message = f"{name} is not supported here: leave it out"
            raise InvalidInput(message, field=name) from error
        message = f"{path or 'the request'}: {fault['msg']}"
        raise InvalidInput(message, field=path) from error


def _path(location: tuple[int | str, ...]) -> str:
    """A location as OpenAI writes it, without the branches of unions that pydantic names."""
    path = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in _NAMES and not isinstance(before, int):  # there it is a branch
            path += f".{part}" if path else part
    return path


_NAMES = frozenset(
    name
    for model in (ChatBody, UserMessage, TextPart, ImagePart, ImageUrl, StreamOptions)
    for name in model.model_fields
)
