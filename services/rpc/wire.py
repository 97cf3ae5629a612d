"""Dataclass <-> proto, for client and server."""

from __future__ import annotations

from typing import cast

from protos.mpa.v1 import types_pb2, versions_pb2
from services.core.contract import Contract
from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput
from services.core.provenance import FinishReason
from services.core.usage import Usage

LARGEST_SEED = 2**63 - 1
"""Engines hold seeds as signed numbers of 64 bits."""
CHECK = ("mpa-traffic", "check")
"""Metadata of a check: a request that is answered like a user's and never sampled."""


def decoding_to_proto(decoding: Decoding) -> types_pb2.Decoding:
    return types_pb2.Decoding(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_new_tokens=decoding.max_new_tokens,
        seed=decoding.seed,
    )


def usage_to_proto(usage: Usage) -> types_pb2.Usage:
    return types_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        cost_usd=usage.cost_usd,
    )


def usage_from_proto(message: types_pb2.Usage) -> Usage:
    return Usage(
        message.prompt_tokens,
        message.completion_tokens,
        message.cached_prompt_tokens,
        message.cost_usd,
    )


def finish_reason_from_proto(value: types_pb2.FinishReason) -> FinishReason:
    """The reason; STOP if it is unset, or belongs to a later contract."""
    try:
        return FinishReason[types_pb2.FinishReason.Name(value).removeprefix("FINISH_REASON_")]
    except (KeyError, ValueError):
        return FinishReason.STOP


def finish_reason_to_proto(reason: FinishReason) -> types_pb2.FinishReason:
    name = f"FINISH_REASON_{reason.name}"
    return cast(types_pb2.FinishReason, types_pb2.FinishReason.Value(name))


def decoding_from_proto(message: types_pb2.Decoding, default: Decoding = GREEDY) -> Decoding:
    """An absent or zero field takes the value of `default`; a zero temperature or seed is a value.

    Raises InvalidInput: a number that is out of range.
    """
    if message.seed > LARGEST_SEED:
        raise InvalidInput(
            f"seed is {message.seed}: give 0 to {LARGEST_SEED}", field="decoding.seed"
        )
    return Decoding(
        temperature=message.temperature,
        top_p=message.top_p or default.top_p,
        max_new_tokens=message.max_new_tokens or default.max_new_tokens,
        seed=message.seed,
    )


def contract_to_proto(contract: Contract) -> versions_pb2.Contract:
    return versions_pb2.Contract(
        answer_template=contract.answer_template,
        training_template=contract.training_template,
        system_prompt=contract.system_prompt,
        normaliser=contract.normaliser,
        chat_template_sha256=contract.chat_template_sha256,
        processor_sha256=contract.processor_sha256,
        pixel_budget=contract.pixel_budget,
        decoding=versions_pb2.Contract.Decoding(
            temperature=contract.temperature,
            max_new_tokens=contract.max_new_tokens,
            top_p=contract.top_p,
        ),
    )


def contract_from_proto(message: versions_pb2.Contract, default: Contract) -> Contract:
    """An empty part is that of `default`; an empty training template is the answer template.

    A decoding is complete if it is present: its temperature 0 is greedy, whatever the default.
    """
    answer_template = message.answer_template or default.answer_template
    has_decoding = message.HasField("decoding")
    return Contract(
        answer_template=answer_template,
        training_template=message.training_template or answer_template,
        system_prompt=message.system_prompt or default.system_prompt,
        normaliser=message.normaliser or default.normaliser,
        chat_template_sha256=message.chat_template_sha256 or default.chat_template_sha256,
        processor_sha256=message.processor_sha256 or default.processor_sha256,
        pixel_budget=message.pixel_budget or default.pixel_budget,
        temperature=message.decoding.temperature if has_decoding else default.temperature,
        max_new_tokens=message.decoding.max_new_tokens or default.max_new_tokens,
        top_p=message.decoding.top_p or (GREEDY.top_p if has_decoding else default.top_p),
    )
