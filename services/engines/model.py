"""Interface of every model: a prompt about an image in, a reply out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from services.core.decoding import GREEDY, Decoding
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.engines.images import LoadedImage


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn about one image. The engine puts it into its model's own chat template."""

    image: LoadedImage
    text: str
    decoding: Decoding = GREEDY
    system: str = ""
    """System prompt; "" leaves it to the template."""
    pattern: str = ""
    """Regular expression that the reply must match (guided decoding); "" allows any reply."""
    rank: int | None = None
    """Copy of the model that must answer, counted from 0; None: the engine chooses one."""
    scored: bool = False
    """Whether the reply needs its `logprobs`."""
    given: tuple[int, ...] = ()
    """Token ids of a reply to score (teacher forcing); empty: the model writes one."""
    alternatives: int | None = None
    """Number of likely tokens that a scored reply names at each step, at most MOST_ALTERNATIVES.

    None: it has no texts of tokens either.
    """
    heard: Callable[[Reply], None] | None = field(default=None, compare=False)
    """Called with the reply as far as it is written, from any thread; it must return at once.

    An engine that can't tell never calls it.
    """


MOST_ALTERNATIVES = 20
"""Most likely tokens of a step; vLLM's own limit."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token's text and the natural logarithm of its probability."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The model's text and its cost; `cost_usd` is 0 unless a provider bills it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason = FinishReason.STOP
    cached_prompt_tokens: int = 0
    cost_usd: float = 0.0
    system_fingerprint: str = ""
    """The provider's name for the system that replied; "" from other engines."""
    token_ids: tuple[int, ...] = ()
    """Tokens of the reply, with the one that ends it; the prompt's `given` ones if it has any."""
    logprobs: tuple[float, ...] = ()
    """Natural logarithm of each token's probability, if the prompt asked for it.

    Those of a given reply begin with the prompt's last tokens, as many as the engine can score.
    """
    token_texts: tuple[str, ...] = ()
    """Text of each token, if the prompt asked for alternatives."""
    alternatives: tuple[tuple[TokenScore, ...], ...] = ()
    """The likeliest tokens of each step, as many as the prompt asked for, the likeliest first."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of the whole reply's probability, if the prompt asked for it."""
        return sum(self.logprobs)

    @property
    def known_logprob(self) -> float | None:
        """The same; None if the engine did not compute it, or not as a number."""
        found = self.logprob
        return found if self.logprobs and math.isfinite(found) else None

    @property
    def usage(self) -> Usage:
        return Usage(
            self.prompt_tokens, self.completion_tokens, self.cached_prompt_tokens, self.cost_usd
        )

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.finish_reason, self.usage, self.system_fingerprint)


class VisionLanguageModel(Protocol):
    """A loaded model. Callers ask concurrently; batching is the engine's business."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over weights, configuration, tokenizer and processor, kept in each record."""

    async def generate(self, prompt: Prompt) -> Reply:
        """Replies to a prompt. A cancelled caller withdraws its request.

        Raises InvalidInput (the prompt doesn't fit the model), Overloaded (queue full),
        Unavailable (closed or dead).
        """

    async def death(self) -> str:
        """Returns the reason if the engine dies by itself; requests then raise Unavailable."""

    async def close(self) -> None:
        """Finishes the requests under way, then frees the memory."""


@runtime_checkable
class Reloadable(Protocol):
    """An engine that can replace its weights with others of the same architecture."""

    async def reload(self, folder: Path) -> None:
        """Replaces the weights, while no request is under way.

        May leave wrong weights behind: the caller asks the canaries. Raises InvalidInput: the
        checkpoint does not fit; the weights are then unknown and must be loaded again.
        """


@runtime_checkable
class Exchangeable(VisionLanguageModel, Protocol):
    """An engine that can take over parts of another checkpoint: canaries of stale weights."""

    async def borrow(self, folder: Path) -> Sequence[str]:
        """Reads another checkpoint of the same architecture, and names the parts it has."""

    async def exchange(self, parts: Collection[str]) -> None:
        """Exchanges parts with those of the other checkpoint. Done twice, all is as before."""


@runtime_checkable
class Adaptable(Protocol):
    """An engine that can serve low-rank adapters next to its own weights, chosen per request."""

    async def with_adapter(self, folder: Path) -> VisionLanguageModel:
        """The same engine, answering by the adapter in `folder`; closing it leaves this one loaded.

        Raises InvalidInput: an adapter for another base, of too high a rank, or of a kind that
        this engine doesn't support.
        """


@runtime_checkable
class Parallel(Protocol):
    """An engine with several copies of its weights, which answer independently (`Prompt.rank`)."""

    @property
    def copies(self) -> int: ...
