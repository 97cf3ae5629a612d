"""Replies of vLLM: those that it writes, and scores of given ones.

A score is the probability of a prompt's last tokens. vLLM computes logits for every token of a
scored prompt: 2 GB for a photo, which no setting reserves. Tokens found in its prefix cache need
none. So the prompt's beginning is asked first, and the cache is read in spite of vLLM's default for
such requests. A salt of their own keeps other requests' entries out, among them the reply's own
tokens, which must be computed.

The prompt is rendered before the reply's tokens are added. If a model has no token for the image's
place (InternVL2 as published), vLLM decodes a prompt and encodes it again: "<|assistant|>" and
" red" would become other tokens, since Phi-3's tokenizer drops the blank behind the mark.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from vllm.logprobs import Logprob
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

from services.core.errors import InvalidInput, Unavailable
from services.core.provenance import FinishReason
from services.engines.model import Prompt, Reply, TokenScore

Edit: TypeAlias = Callable[[list[int]], list[int]]
"""From the token ids of a rendered prompt to those that vLLM gets."""
Ask: TypeAlias = Callable[[Mapping[str, Any], SamplingParams, Edit], Awaitable[RequestOutput]]


def image_input(prompt: Prompt) -> Mapping[str, Any]:
    """A prompt's image as vLLM takes it."""
    return {
        "multi_modal_data": {"image": [prompt.image.pixels]},
        "multi_modal_uuids": {"image": [prompt.image.sha256]},
    }


def tell(prompt: Prompt, output: RequestOutput) -> None:
    """Passes on the reply so far, if somebody hears it."""
    if prompt.heard is None or output.finished:
        return
    completion = output.outputs[0]
    text = completion.text.rstrip("\N{REPLACEMENT CHARACTER}").strip()
    prompt.heard(Reply(text, len(output.prompt_token_ids or ()), len(completion.token_ids)))


def written_reply(final: RequestOutput, alternatives: int | None = None) -> Reply:
    """The reply of a finished request. Raises Unavailable: it was ended early."""
    completion = final.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        raise Unavailable(
            f"the engine ended the request early ({completion.finish_reason}): ask again"
        )
    is_cut = completion.finish_reason == "length"
    steps = list(zip(completion.token_ids, completion.logprobs or (), strict=False))
    return Reply(
        text=completion.text.strip(),
        prompt_tokens=len(final.prompt_token_ids or ()),
        completion_tokens=len(completion.token_ids),
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        cached_prompt_tokens=final.num_cached_tokens or 0,
        token_ids=tuple(completion.token_ids),
        logprobs=tuple(found[token].logprob for token, found in steps),
        token_texts=()
        if alternatives is None
        else tuple(found[token].decoded_token or "" for token, found in steps),
        alternatives=tuple(_likeliest(found, alternatives) for _, found in steps if alternatives),
    )


def _likeliest(found: Mapping[int, Logprob], count: int) -> tuple[TokenScore, ...]:
    ordered = sorted(found.values(), key=lambda each: each.rank or 0)
    return tuple(TokenScore(each.decoded_token or "", each.logprob) for each in ordered[:count])


async def rendered(engine: Any, asked: Mapping[str, Any], edit: Edit) -> Mapping[str, Any]:
    """A prompt with its image's tokens and tensors, as vLLM makes them, and with edited ids."""
    prompt = parse_model_prompt(engine.model_config, asked)
    (found,) = await engine.renderer.render_cmpl_async([prompt])
    return {**found, "prompt_token_ids": edit(found["prompt_token_ids"])}


async def score(ask: Ask, prompt: Prompt, asked: Mapping[str, Any], tail: int) -> Reply:
    """Score a prompt's given reply and the `tail` tokens before it. Raises as `ask`."""
    salted = {**asked, "cache_salt": uuid.uuid4().hex}
    await ask(salted, _parameters(is_scored=False), lambda ids: ids[: len(ids) - tail])
    final = await ask(salted, _parameters(is_scored=True), lambda ids: [*ids, *prompt.given])
    ids, count = final.prompt_token_ids or [], tail + len(prompt.given)
    found = zip(ids[-count:], (final.prompt_logprobs or [])[-count:], strict=True)
    return Reply(
        text="",
        prompt_tokens=len(ids) - len(prompt.given),
        completion_tokens=len(prompt.given),
        token_ids=prompt.given,
        logprobs=tuple((each or {})[token].logprob for token, each in found),
    )


def refused(error: Exception, window: int) -> InvalidInput:
    """The error for a caller whose request vLLM refuses."""
    if any(
        sign in str(error)
        for sign in ("max_model_len", "maximum model length", "context length", "max_tokens")
    ):
        return too_long(f"image and question are too long ({error}):", window)
    return InvalidInput(f"the engine can't take this request: {error}", field="question")


def too_long(what: str, window: int) -> InvalidInput:
    """The error for a prompt that `what` describes, on a model with a window of `window` tokens."""
    return InvalidInput(
        f"{what} the model's window is {window}: ask a shorter question or send a smaller image",
        field="question",
        reason="PROMPT_TOO_LONG",
    )


def _parameters(*, is_scored: bool) -> SamplingParams:
    """Request arguments. Entries of cached tokens are arbitrary, so no token becomes text."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0 if is_scored else None,
        skip_reading_prefix_cache=False,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
