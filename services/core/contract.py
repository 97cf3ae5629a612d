"""Contract of a version: the words, decoding and rule in which it is trained, checked, judged and served."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.answers import MATCHERS
from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput
from services.core.tasks import ANSWER_TEMPLATE

QUESTION = "{question}"
OF_THE_MODEL = ("system_prompt", "chat_template_sha256", "processor_sha256", "pixel_budget")
"""Parts that come with the checkpoint: a training keeps them."""
AS_ASKED = ("answer_template", "temperature", "top_p", "max_new_tokens", "normaliser")
"""Parts that decide an answer to a plain question, and whether it is right."""


@dataclass(frozen=True, slots=True)
class Contract:
    """How a version is trained and asked. A recipe decides the templates, the decoding and the normaliser.

    `training_template` differs from `answer_template` only under the recipe `authors`. `system_prompt` "" leaves the system
    turn to the chat template. `normaliser`: identity of the matcher that compares answers. `pixel_budget`: sizes in the
    image processor's configuration, as JSON; "" where they aren't known. `processor_sha256` guards them.
    """

    answer_template: str = ANSWER_TEMPLATE
    training_template: str = ANSWER_TEMPLATE
    system_prompt: str = ""
    normaliser: str = MATCHERS["exact"].identity
    chat_template_sha256: str = ""
    processor_sha256: str = ""
    temperature: float = GREEDY.temperature
    max_new_tokens: int = GREEDY.max_new_tokens
    top_p: float = GREEDY.top_p
    pixel_budget: str = ""

    @property
    def decoding(self) -> Decoding:
        """Raises InvalidInput: out of range."""
        return Decoding(
            temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens
        )

    def require_servable(self) -> None:
        """Raises InvalidInput that names the field which no plain question could be answered by."""
        try:
            _ = self.decoding
        except InvalidInput as error:
            raise InvalidInput(str(error), field=f"contract.{error.field}") from error
        _require_template(self.answer_template, "answer_template")
        if self.normaliser not in {matcher.identity for matcher in MATCHERS.values()}:
            known = ", ".join(matcher.identity for matcher in MATCHERS.values())
            raise InvalidInput(
                f"there is no normaliser {self.normaliser[:80]!r} here: use one of {known}",
                field="contract.normaliser",
            )

    def require_trainable_from(self, base: Contract) -> None:
        """Raises InvalidInput that names the field which couldn't be served, or which the base version has otherwise."""
        self.require_servable()
        _require_template(self.training_template, "training_template")
        for name in OF_THE_MODEL:
            asked, own = getattr(self, name), getattr(base, name)
            if asked != own:
                raise InvalidInput(
                    f"{name} is {asked[:80]!r}, and the base version has {own[:80]!r}, which a training keeps: leave it empty, "
                    "or name a base version that has it",
                    field=f"contract.{name}",
                )

    def differences(self, other: Contract) -> list[str]:
        """Each part that decides an answer and isn't the same: "max_new_tokens: 32, not 64"."""
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in AS_ASKED]
        return [f"{name}: {own!r}, not {wanted!r}" for name, own, wanted in pairs if own != wanted]


def _require_template(template: str, name: str) -> None:
    found = template.count(QUESTION)
    if found != 1:
        raise InvalidInput(
            f"{name} {template[:80]!r} holds {QUESTION} {found} times: put it once, where the question goes",
            field=f"contract.{name}",
        )
