"""Replies of vLLM: those that it writes, and scores of given ones.

A score is the probability of a prompt's last tokens. vLLM computes logits for every token of a
scored prompt: 2 GB for a photo, which no setting reserves. Tokens found in its prefix cache need
none. So the prompt's beginning is asked first, and the cache is read in spite of vLLM's default for
such requests. A salt of their own keeps other requests' entries out, among them the reply's own
tokens, which must be computed.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams

from services.core.errors import InvalidInput, Unavailable
from services.core.provenance import FinishReason
from services.engines.model import Prompt, Reply

Ask: TypeAlias = Callable[[Mapping[str, Any], SamplingParams], Awaitable[RequestOutput]]


def image_input(prompt: Prompt) -> Mapping[str, Any]:
    """A prompt's image as vLLM takes it."""
    return {
        "multi_modal_data": {"image": [prompt.image.pixels]},
        "multi_modal_uuids": {"image": [prompt.image.sha256]},
    }


def written_reply(final: RequestOutput) -> Reply:
    """The reply of a finished request. Raises Unavailable: it was ended early."""
    completion = final.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        raise Unavailable(
            f"the engine ended the request early ({completion.finish_reason}): ask again"
        )
    is_cut = completion.finish_reason == "length"
    steps = zip(completion.token_ids, completion.logprobs or (), strict=False)
    return Reply(
        text=completion.text.strip(),
        prompt_tokens=len(final.prompt_token_ids or ()),
        completion_tokens=len(completion.token_ids),
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        cached_prompt_tokens=final.num_cached_tokens or 0,
        token_ids=tuple(completion.token_ids),
        logprobs=tuple(found[token].logprob for token, found in steps),
    )


async def score(ask: Ask, prompt: Prompt, beginning: Sequence[int], whole: Sequence[int]) -> Reply:
    """Score the tokens of `whole` (a prompt and its given reply) behind its `beginning`.

    Raises as `ask`; InvalidInput: vLLM tokenized the prompt again, in another way.
    """
    asked = {**image_input(prompt), "cache_salt": uuid.uuid4().hex}
    await ask({**asked, "prompt_token_ids": list(beginning)}, _parameters(is_scored=False))
    final = await ask({**asked, "prompt_token_ids": list(whole)}, _parameters(is_scored=True))
    scored = whole[len(beginning) :]
    scores = [each or {} for each in final.prompt_logprobs or ()][-len(scored) :]
    try:
        found = [each[token] for token, each in zip(scored, scores, strict=True)]
    except (KeyError, ValueError) as error:
        raise InvalidInput(
            f"vLLM can't score replies of this model ({error!r})", field="question"
        ) from error
    return Reply(
        text="",
        prompt_tokens=len(final.prompt_token_ids or ()) - len(prompt.given),
        completion_tokens=len(prompt.given),
        token_ids=prompt.given,
        logprobs=tuple(each.logprob for each in found),
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
