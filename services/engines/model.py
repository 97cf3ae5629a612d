"""The one interface that services call: a prompt about an image in, a reply out, however the engine batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from services.core.decoding import GREEDY, Decoding
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.engines.images import LoadedImage


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn about one image. The engine puts it into its model's own chat template.

    `system` "" leaves the system turn to the template. `pattern`: a regular expression that the reply must match (guided
    decoding); "" where the model is free. `scored` asks for the reply's `logprob`, too.
    """

    image: LoadedImage
    text: str
    decoding: Decoding = GREEDY
    system: str = ""
    pattern: str = ""
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote, and what it took: `cost_usd` and `system_fingerprint` come from providers of closed models.

    `logprob`: natural logarithm of the probability of the whole reply, where the prompt asked for it.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason = FinishReason.STOP
    cached_prompt_tokens: int = 0
    cost_usd: float = 0.0
    system_fingerprint: str = ""
    logprob: float = 0.0

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
        """Hex SHA-256 over weights, configuration, tokenizer and processor; stored with every record."""

    async def generate(self, prompt: Prompt) -> Reply:
        """Raises InvalidInput (the prompt doesn't fit the model), Overloaded (queue full), Unavailable (closed, or dead).

        A caller that is cancelled takes its request back.
        """

    async def death(self) -> str:
        """Returns only if the engine dies by itself, with the reason; requests then raise Unavailable."""

    async def close(self) -> None:
        """Ends after the requests it has; frees the memory."""


@runtime_checkable
class Reloadable(Protocol):
    """An engine that can take other weights of the same architecture into the place of its own."""

    async def reload(self, folder: Path) -> None:
        """Only while no request is under way. May leave wrong weights behind: the caller asks the canaries.

        Raises InvalidInput: the checkpoint does not fit; what is loaded then is unknown, and must be loaded anew.
        """


@runtime_checkable
class Adaptable(Protocol):
    """An engine that can serve low-rank adapters beside its own weights, chosen per request."""

    async def with_adapter(self, folder: Path) -> VisionLanguageModel:
        """The same engine, answering by the adapter in `folder`; closing it leaves this one loaded.

        Raises InvalidInput: an adapter for another base, of too high a rank, or one that this engine can't take.
        """
