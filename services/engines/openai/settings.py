"""The settings of the openai engine, from MPA_TEACHER_* and the provider's own OPENAI_*."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from services.core.errors import InvalidInput
from services.environment import Environment

BASE_URL = "https://api.openai.com/v1"
IMAGE_DETAILS = ("low", "high", "auto")
GUIDED = ("structured_outputs", "guided_regex")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """The provider's batch API. A batch is handed in once it has `size` requests, or `wait_s` after its first one.

    `folder` holds what was handed in and what came back; the state of under-way batches is asked for every `poll_s`.
    """

    folder: Path = Path(".mpa/teacher/batches")
    size: int = 10_000
    wait_s: float = 60.0
    poll_s: float = 60.0


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """`requests_per_minute` and `tokens_per_minute` 0: no limit of one's own, the provider's 429 rules.

    `api_key` comes from OPENAI_API_KEY alone and is in no repr; "" for a server that wants none. `retries` are tries after the
    first. `guided`: the field in which the server takes a regular expression that the reply must match, "" where it takes none.
    `prices`: a JSON file that overrides the built-in price table.
    """

    base_url: str = BASE_URL
    api_key: str = field(default="", repr=False)
    image_detail: str = "auto"
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    max_concurrent: int = 64
    timeout_s: float = 60.0
    retries: int = 5
    prices: Path | None = None
    guided: str = ""
    batch: BatchSettings | None = None

    def require_access(self) -> None:
        """Raises InvalidInput where address or key can't be right; what was given is not repeated, it may be the secret."""
        _require_plain(self.base_url)
        _require_key(self.api_key, self.base_url)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @staticmethod
    def from_environment(env: Environment) -> OpenAISettings:
        """Raises InvalidInput, naming the variable that is wrong. Address and key are looked at when the model is loaded."""
        usual, batches = OpenAISettings(), BatchSettings()
        return OpenAISettings(
            base_url=(env.variables.get("OPENAI_BASE_URL") or BASE_URL).strip().rstrip("/"),
            api_key=env.variables.get("OPENAI_API_KEY", "").strip(),
            image_detail=_one_of(env, "IMAGE_DETAIL", IMAGE_DETAILS, usual.image_detail),
            requests_per_minute=_at_least(env, "REQUESTS_PER_MINUTE", 0, usual.requests_per_minute),
            tokens_per_minute=_at_least(env, "TOKENS_PER_MINUTE", 0, usual.tokens_per_minute),
            max_concurrent=int(_at_least(env, "MAX_CONCURRENT", 1, usual.max_concurrent)),
            timeout_s=_at_least(env, "TIMEOUT_S", 0.001, usual.timeout_s),
            retries=int(_at_least(env, "RETRIES", 0, usual.retries)),
            prices=env.path("PRICES"),
            guided=_one_of(env, "GUIDED", ("", *GUIDED), ""),
            batch=BatchSettings(
                folder=env.path("BATCH_FOLDER") or batches.folder,
                size=int(_at_least(env, "BATCH_SIZE", 1, batches.size)),
                wait_s=_at_least(env, "BATCH_WAIT_S", 0, batches.wait_s),
                poll_s=_at_least(env, "BATCH_POLL_S", 0.01, batches.poll_s),
            )
            if env.flag("BATCH")
            else None,
        )


def _require_plain(base_url: str) -> None:
    """A secret in a URL ends up in logs."""
    try:
        parts = urlsplit(base_url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        parts, has_port = urlsplit(""), False
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(
            "OPENAI_BASE_URL holds a user name, a password or a query: give the plain address there, the key in OPENAI_API_KEY",
            field="OPENAI_BASE_URL",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
        raise InvalidInput(
            f"OPENAI_BASE_URL is not the address of a server: give one such as {BASE_URL} or http://127.0.0.1:8000/v1",
            field="OPENAI_BASE_URL",
        )


def _require_key(key: str, base_url: str) -> None:
    if not key and base_url == BASE_URL:
        raise InvalidInput(
            "OPENAI_API_KEY is not set: put the provider's key there (it is read from the environment alone), or name a "
            "server that wants none in OPENAI_BASE_URL",
            field="OPENAI_API_KEY",
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise InvalidInput(
            "OPENAI_API_KEY holds blanks, line breaks or other characters that no key has: copy it again",
            field="OPENAI_API_KEY",
        )


def _one_of(env: Environment, name: str, values: tuple[str, ...], default: str) -> str:
    given = env.text(name, default)
    if given not in values:
        raise InvalidInput(
            f"{env.prefix}{name} is {given!r}: use one of {', '.join(value for value in values if value)}",
            field=env.prefix + name,
        )
    return given


def _at_least(env: Environment, name: str, least: float, default: float) -> float:
    given = env.number(name, default)
    if not given >= least:
        raise InvalidInput(
            f"{env.prefix}{name} is {given:g}: give at least {least:g}", field=env.prefix + name
        )
    return given
