"""Dataclass <-> proto, where both sides need it."""

from __future__ import annotations

from typing import cast

from protos.mpa.v1 import types_pb2
from services.core.decoding import GREEDY, Decoding
from services.core.usage import Usage
from services.engines.model import FinishReason, Reply

CHECK = ("mpa-traffic", "check")
"""Metadata of a request that stands in for a user's: it is answered like one and never sampled."""


def decoding_to_proto(decoding: Decoding) -> types_pb2.Decoding:
    return types_pb2.Decoding(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_new_tokens=decoding.max_new_tokens,
        seed=decoding.seed,
    )


def usage_to_proto(reply: Reply) -> types_pb2.Usage:
    return types_pb2.Usage(
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_prompt_tokens=reply.cached_prompt_tokens,
        cost_usd=reply.cost_usd,
    )


def usage_from_proto(message: types_pb2.Usage) -> Usage:
    return Usage(message.prompt_tokens, message.completion_tokens, message.cached_prompt_tokens, message.cost_usd)


def finish_reason_from_proto(value: types_pb2.FinishReason) -> FinishReason:
    """A service that does not say (unset, or a reason of a later contract) is taken to mean STOP."""
    try:
        return FinishReason[types_pb2.FinishReason.Name(value).removeprefix("FINISH_REASON_")]
    except (KeyError, ValueError):
        return FinishReason.STOP


def finish_reason_to_proto(reply: Reply) -> types_pb2.FinishReason:
    return cast(types_pb2.FinishReason, types_pb2.FinishReason.Value(f"FINISH_REASON_{reply.finish_reason.name}"))


def decoding_from_proto(message: types_pb2.Decoding, default: Decoding = GREEDY) -> Decoding:
    """An absent or zero field takes the value of `default` (temperature and seed: zero is a value)."""
    return Decoding(
        temperature=message.temperature,
        top_p=message.top_p or default.top_p,
        max_new_tokens=message.max_new_tokens or default.max_new_tokens,
        seed=message.seed,
    )
