"""What every server and client here agrees on: message sizes, keepalive, question lengths."""

from __future__ import annotations

from services.core.errors import InvalidInput

MAX_MESSAGE_BYTES = 32 * 2**20
MAX_QUESTION_CHARS = 4_000
MAX_PROMPT_CHARS = 20_000

MESSAGE_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


def check_question(question: str) -> str:
    """The question without blanks around it. Raises InvalidInput: empty, too long."""
    question = question.strip()
    if not question:
        raise InvalidInput("the question is empty: ask something about the image", field="question", reason="QUESTION_EMPTY")
    if len(question) > MAX_QUESTION_CHARS:
        raise InvalidInput(
            f"the question has {len(question):,} characters; at most {MAX_QUESTION_CHARS:,} are taken",
            field="question",
            reason="QUESTION_TOO_LONG",
        )
    return question


def check_prompt(prompt: str, field: str) -> str:
    """Raises InvalidInput: longer than MAX_PROMPT_CHARS."""
    if len(prompt) > MAX_PROMPT_CHARS:
        raise InvalidInput(f"{field} has {len(prompt):,} characters; at most {MAX_PROMPT_CHARS:,} are taken", field=field)
    return prompt
