"""Limits that every server and client shares: sizes of messages, lengths of texts."""

from __future__ import annotations

from services.core.contract import QUESTION
from services.core.errors import InvalidInput

MAX_MESSAGE_BYTES = 32 * 2**20
MAX_QUESTION_CHARS = 4_000
MAX_ANSWER_CHARS = 4_000
MAX_TEMPLATE_CHARS = 2_000
MAX_PROMPT_CHARS = 20_000

MESSAGE_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


def check_question(question: str) -> str:
    """The question without outer blanks. Raises InvalidInput: empty, too long, not Unicode."""
    question = question.strip()
    if not question:
        raise InvalidInput(
            "the question is empty: ask something about the image",
            field="question",
            reason="QUESTION_EMPTY",
        )
    return _check_text(
        question, "the question", "question", MAX_QUESTION_CHARS, "QUESTION_TOO_LONG"
    )


def check_answer(answer: str) -> str:
    """Checks an answer for training. Raises InvalidInput: empty, too long, not Unicode."""
    if not answer.strip():
        raise InvalidInput("the answer is empty: leave the sample out", field="sample.answer")
    return _check_text(answer, "the answer", "sample.answer", MAX_ANSWER_CHARS)


def check_template(template: str, field: str) -> str:
    """Checks the text around a question; "" means the version's own template.

    Raises InvalidInput: too long, no "{question}" in it or several, not Unicode.
    """
    _check_text(template, field, field, MAX_TEMPLATE_CHARS)
    found = template.count(QUESTION)
    if template and found != 1:
        raise InvalidInput(
            f"{field} has {QUESTION} {found:,} times: write it once, in place of the question",
            field=field,
            reason="TEMPLATE_INVALID",
        )
    return template


def check_prompt(prompt: str, field: str) -> str:
    """Raises InvalidInput: longer than MAX_PROMPT_CHARS, not Unicode."""
    return _check_text(prompt, field, field, MAX_PROMPT_CHARS)


def _check_text(
    text: str, name: str, field: str, limit: int, too_long: str = "TEXT_TOO_LONG"
) -> str:
    if len(text) > limit:
        raise InvalidInput(
            f"{name} has {len(text):,} characters; at most {limit:,} are accepted",
            field=field,
            reason=too_long,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} contains half of a surrogate pair at character {error.start + 1:,}: "
            "send whole characters",
            field=field,
            reason="TEXT_NOT_UNICODE",
        ) from error
    return text
