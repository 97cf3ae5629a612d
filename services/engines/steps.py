"""Steps of a batch that a model of transformers writes: scores of its tokens, replies so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from services.core.provenance import FinishReason
from services.engines.model import Prompt, Reply, TokenScore

_PARTIAL = "\N{REPLACEMENT CHARACTER}"
Decode = Callable[[list[int]], str]


@dataclass(slots=True)
class _Draft:
    """One reply as far as it is written. A tokenizer reads only its last tokens at each step."""

    text: str = ""
    before: int = 0
    read: int = 0

    def follow(self, ids: list[int], decode: Decode) -> None:
        known, longer = decode(ids[self.before : self.read]), decode(ids[self.before :])
        if len(longer) > len(known) and not longer.endswith(_PARTIAL):
            self.text += longer[len(known) :]
            self.before, self.read = self.read, len(ids)


class Steps(LogitsProcessor):
    """Follower of a batch. It must come before the sampling, which changes the logits in place.

    It keeps the last step's logits only: those of a whole batch of replies may take gigabytes.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        lengths: Sequence[int],
        tokenizer: Any,
        ends: Sequence[int],
    ) -> None:
        """`lengths`: tokens of each prompt. `ends`: tokens that end a reply."""
        self._prompts = prompts
        self._lengths = lengths
        self._tokenizer = tokenizer
        self._ends = frozenset(ends)
        self._scored = [row for row, prompt in enumerate(prompts) if prompt.scored]
        self._most = max((prompts[row].alternatives or 0 for row in self._scored), default=0)
        self._drafts = {
            row: _Draft() for row, prompt in enumerate(prompts) if prompt.heard is not None
        }
        self._begin = -1
        self._last: torch.Tensor | None = None
        self._logprobs: list[torch.Tensor] = []
        self._likely: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Notes a step. `input_ids`: prompts and replies so far; `scores`: logits of the next."""
        if self._begin < 0:
            self._begin = input_ids.shape[1]
        self._settle(input_ids)
        if self._scored:
            self._last = scores[self._scored].float().log_softmax(-1)
        if self._drafts and input_ids.shape[1] > self._begin:
            self._tell(input_ids)
        return scores

    def replies(self, sequences: torch.Tensor) -> list[Reply]:
        """The replies in the finished `sequences`, prompts included."""
        self._settle(sequences)
        self._last = None
        rows = torch.stack(self._logprobs, dim=1).tolist() if self._logprobs else []
        scores = dict(zip(self._scored, rows, strict=False))
        written = sequences[:, self._begin :]
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            self._reply(row, text, ids, scores.get(row, []))
            for row, (text, ids) in enumerate(zip(texts, written.tolist(), strict=True))
        ]

    def _reply(self, row: int, text: str, ids: list[int], scores: list[float]) -> Reply:
        end = next((at for at, token in enumerate(ids) if token in self._ends), None)
        tokens = len(ids) if end is None else end + 1
        is_named = self._prompts[row].alternatives is not None
        return Reply(
            text=_whole(text),
            prompt_tokens=self._lengths[row],
            completion_tokens=tokens,
            finish_reason=FinishReason.LENGTH if end is None else FinishReason.STOP,
            token_ids=tuple(ids[:tokens]),
            logprobs=tuple(scores[:tokens]),
            token_texts=tuple(self._decode([each]) for each in ids[:tokens]) if is_named else (),
            alternatives=self._alternatives(row, tokens),
        )

    def _alternatives(self, row: int, count: int) -> tuple[tuple[TokenScore, ...], ...]:
        """The likeliest tokens at each of the first `count` steps of a row, if it asks for them."""
        wanted = self._prompts[row].alternatives
        if not wanted or row not in self._scored:
            return ()
        at = self._scored.index(row)
        return tuple(
            tuple(
                TokenScore(self._decode([token]), logprob)
                for logprob, token in zip(
                    values[at, :wanted].tolist(), tokens[at, :wanted].tolist(), strict=True
                )
            )
            for values, tokens in self._likely[:count]
        )

    def _settle(self, input_ids: torch.Tensor) -> None:
        """Scores the token that the step before has chosen."""
        if self._last is None or input_ids.shape[1] - self._begin <= len(self._logprobs):
            return
        written = input_ids[self._scored, self._begin + len(self._logprobs)]
        self._logprobs.append(self._last.gather(-1, written[:, None])[:, 0])
        if self._most:
            values, tokens = self._last.topk(min(self._most, self._last.shape[1]))
            self._likely.append((values, tokens))

    def _tell(self, input_ids: torch.Tensor) -> None:
        rows = input_ids[list(self._drafts), self._begin :].tolist()
        for (row, draft), ids in zip(self._drafts.items(), rows, strict=True):
            heard = self._prompts[row].heard
            if heard is None or ids[-1] in self._ends:
                continue
            draft.follow(ids, self._decode)
            heard(Reply(draft.text.strip(), self._lengths[row], len(ids)))

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


def _whole(text: str) -> str:
    """Drops the last character if the reply was cut off within it, as vLLM does."""
    return text.rstrip(_PARTIAL).strip()
