"""Dataclass <-> proto, where both sides need it."""

from __future__ import annotations

from protos.mpa.v1 import types_pb2
from services.core.decoding import GREEDY, Decoding
from services.engines.model import Reply


def decoding_to_proto(decoding: Decoding) -> types_pb2.Decoding:
    return types_pb2.Decoding(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_new_tokens=decoding.max_new_tokens,
        seed=decoding.seed,
    )


def usage_to_proto(reply: Reply) -> types_pb2.Usage:
    return types_pb2.Usage(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)


def decoding_from_proto(message: types_pb2.Decoding, default: Decoding = GREEDY) -> Decoding:
    """An absent or zero field takes the value of `default` (temperature and seed: zero is a value)."""
    return Decoding(
        temperature=message.temperature,
        top_p=message.top_p or default.top_p,
        max_new_tokens=message.max_new_tokens or default.max_new_tokens,
        seed=message.seed,
    )
