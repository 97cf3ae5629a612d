"""Contract of a version: templates, decoding and rule by which it is trained, judged and served."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.answers import MATCHERS
from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput
from services.core.tasks import ANSWER_TEMPLATE

QUESTION = "{question}"
OF_THE_MODEL = ("system_prompt", "chat_template_sha256", "processor_sha256", "pixel_budget")
"""Parts that come with the checkpoint and that training keeps."""
AS_ASKED = ("answer_template", "temperature", "top_p", "max_new_tokens", "normaliser")
"""Parts that decide an answer to a plain question, and whether it is right."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The way a version is trained and asked.

    A recipe decides the templates, the decoding and the normaliser.
    """

    answer_template: str = ANSWER_TEMPLATE
    """The user turn of a question; it holds "{question}"."""
    training_template: str = ANSWER_TEMPLATE
    """The user turn in training. It differs from `answer_template` only in the recipe `authors`."""
    system_prompt: str = ""
    """The system turn; "" leaves it to the chat template."""
    normaliser: str = MATCHERS["exact"].identity
    """Identity of the matcher that compares answers."""
    chat_template_sha256: str = ""
    """Checksum of the checkpoint's chat template."""
    processor_sha256: str = ""
    """Checksum of the image processor's configuration, `pixel_budget` included."""
    temperature: float = GREEDY.temperature
    """Sampling temperature of an answer; 0 is greedy."""
    max_new_tokens: int = GREEDY.max_new_tokens
    """Length limit of an answer, in tokens."""
    top_p: float = GREEDY.top_p
    """Nucleus sampling of an answer; 1 is off."""
    pixel_budget: str = ""
    """Sizes in the image processor's configuration, as JSON; "" if they are unknown."""

    @property
    def decoding(self) -> Decoding:
        """Decoding of an answer. Raises InvalidInput if a number is out of range."""
        return Decoding(
            temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens
        )

    def require_servable(self) -> None:
        """Raises InvalidInput with the name of a field that makes it impossible to answer."""
        try:
            _ = self.decoding
        except InvalidInput as error:
            raise InvalidInput(str(error), field=f"contract.{error.field}") from error
        _require_template(self.answer_template, "answer_template")
        if self.normaliser not in {matcher.identity for matcher in MATCHERS.values()}:
            known = ", ".join(matcher.identity for matcher in MATCHERS.values())
            raise InvalidInput(
                f"there is no normaliser {self.normaliser[:80]!r}: use one of {known}",
                field="contract.normaliser",
            )

    def require_trainable_from(self, base: Contract) -> None:
        """Raises InvalidInput with the name of a field that can't be served or trained."""
        self.require_servable()
        _require_template(self.training_template, "training_template")
        for name in OF_THE_MODEL:
            asked = getattr(self, name)
            own = getattr(base, name)
            if asked != own:
                raise InvalidInput(
                    f"{name} is {asked[:80]!r}, and training keeps the base version's, which is "
                    f"{own[:80]!r}: leave it empty, or name a base version that has it",
                    field=f"contract.{name}",
                )

    def differences(self, other: Contract) -> list[str]:
        """The differing parts that decide an answer, such as "max_new_tokens: 32, not 64"."""
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in AS_ASKED]
        return [f"{name}: {own!r}, not {wanted!r}" for name, own, wanted in pairs if own != wanted]


def _require_template(template: str, name: str) -> None:
    found = template.count(QUESTION)
    if found != 1:
        raise InvalidInput(
            f"{name} {template[:80]!r} holds {QUESTION} {found} times: use it once, "
            "in the place of the question",
            field=f"contract.{name}",
        )
