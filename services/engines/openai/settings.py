"""Settings of the openai engine, from MPA_TEACHER_* and the provider's own OPENAI_*."""

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
    """Use of the provider's batch API."""

    folder: Path = Path(".mpa/teacher/batches")
    """Folder of submitted requests and their replies."""
    size: int = 10_000
    """Requests after which a batch is submitted."""
    wait_s: float = 60.0
    """Seconds after the first request when a smaller batch is submitted."""
    poll_s: float = 60.0
    """Seconds between two looks at batches under way."""


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """Access to a provider, its limits and its prices."""

    base_url: str = BASE_URL
    """Address of the server, from OPENAI_BASE_URL."""
    api_key: str = field(default="", repr=False)
    """Key, from OPENAI_API_KEY alone and in no repr; "" for a server without keys."""
    image_detail: str = "auto"
    """OpenAI's detail of images: low, high or auto."""
    requests_per_minute: float = 0.0
    """Limit of requests; 0 leaves it to the provider's 429."""
    tokens_per_minute: float = 0.0
    """Limit of tokens; 0 leaves it to the provider's 429."""
    max_concurrent: int = 64
    """Requests under way at the same time."""
    timeout_s: float = 60.0
    """Seconds for one try."""
    retries: int = 5
    """Tries after the first."""
    prices: Path | None = None
    """JSON file that overrides the built-in price table."""
    guided: str = ""
    """Field of a request for the reply's regular expression; "" if the server has none."""
    batch: BatchSettings | None = None
    """Settings of the batch API; None doesn't use it."""

    def require_access(self) -> None:
        """Raises InvalidInput: impossible address or key, not quoted since it may be the secret."""
        _require_plain(self.base_url)
        _require_key(self.api_key, self.base_url)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @staticmethod
    def from_environment(env: Environment) -> OpenAISettings:
        """Raises InvalidInput, naming the variable that is wrong.

        Address and key are checked when the model is loaded.
        """
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
    """Raises InvalidInput: no server's address, or one with a secret, which logs would show."""
    try:
        parts = urlsplit(base_url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        parts = urlsplit("")
        has_port = False
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(
            "OPENAI_BASE_URL holds a user name, a password or a query: "
            "give the plain address there, the key in OPENAI_API_KEY",
            field="OPENAI_BASE_URL",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
        raise InvalidInput(
            "OPENAI_BASE_URL is not the address of a server: "
            f"give one such as {BASE_URL} or http://127.0.0.1:8000/v1",
            field="OPENAI_BASE_URL",
        )


def _require_key(key: str, base_url: str) -> None:
    if not key and base_url == BASE_URL:
        raise InvalidInput(
            "OPENAI_API_KEY is not set: put the provider's key there (it is read from the "
            "environment alone), or name a server that wants none in OPENAI_BASE_URL",
            field="OPENAI_API_KEY",
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise InvalidInput(
            "OPENAI_API_KEY holds blanks, line breaks or other characters that no key has: "
            "copy it again",
            field="OPENAI_API_KEY",
        )


def _one_of(env: Environment, name: str, values: tuple[str, ...], default: str) -> str:
    given = env.text(name, default)
    if given not in values:
        known = ", ".join(value for value in values if value)
        raise InvalidInput(
            f"{env.prefix}{name} is {given!r}: use one of {known}", field=env.prefix + name
        )
    return given


def _at_least(env: Environment, name: str, least: float, default: float) -> float:
    given = env.number(name, default)
    if not given >= least:
        raise InvalidInput(
            f"{env.prefix}{name} is {given:g}: give at least {least:g}", field=env.prefix + name
        )
    return given
