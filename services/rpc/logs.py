"""Log of a service: lines for people, or a JSON object a line; never an image or a key.

Questions and answers are logged at the level `debug` alone, which an operator must set.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from services import tracing
from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc.request_id import current_facts, current_request_id

TEXT, JSON = "text", "json"
FAULTS_PER_S = 5
"""Most records a second of each logger that logs faults of callers."""
_OF_CALLERS = ("grpc._cython.cygrpc", "asyncio", "uvicorn.error", "services.rpc.http.protocol")
"""Loggers that callers can make write a record for each connection."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_conversations = logging.getLogger("services.conversations")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Form and level of a service's log."""

    form: str = TEXT
    """`text`, or `json`: an object on each line."""
    level: int = logging.INFO
    """Lowest level that is logged; at `logging.DEBUG` questions and answers are, too."""

    @staticmethod
    def from_environment(env: Environment) -> LogSettings:
        """Reads MPA_*_LOG and MPA_*_LOG_LEVEL. Raises InvalidInput."""
        form = _one_of(env, "LOG", TEXT, (TEXT, JSON))
        return LogSettings(form, _LEVELS[_one_of(env, "LOG_LEVEL", "info", tuple(_LEVELS))])


def _one_of(env: Environment, name: str, default: str, known: tuple[str, ...]) -> str:
    given = env.text(name, default)
    if given not in known:
        raise InvalidInput(
            f"{env.prefix}{name} is {given!r}: give {' or '.join(known)}", field=env.prefix + name
        )
    return given


class SparseRecords(logging.Filter):
    """At most some records a second, so that no caller can fill the disk.

    Headers that are not UTF-8 leave none: grpcio would log three tracebacks for each of them.
    """

    def __init__(self, most_per_s: int = FAULTS_PER_S) -> None:
        super().__init__()
        self._most_per_s = most_per_s
        self._second, self._count = 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Invalid encoding on"):
            return False
        if (second := int(record.created)) != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._most_per_s


def configure(settings: LogSettings) -> None:
    """Sets the level of the service's own log, and the form of all handlers of this process."""
    logging.getLogger("services").setLevel(settings.level)
    for name in _OF_CALLERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, SparseRecords) for each in logger.filters):
            logger.addFilter(SparseRecords())
    if settings.form == JSON:
        for name in ("", "bentoml", "uvicorn.error"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(JsonLines())


def conversation(question: str, answer: str) -> None:
    """Logs a question and its answer at the level `debug`, and notes them in the trace."""
    if _conversations.isEnabledFor(logging.DEBUG):
        _conversations.debug("question %r, answer %r", question, answer)
        tracing.note(question=question, answer=answer)


class JsonLines(logging.Formatter):
    """A record as one JSON object: its message, its time, and the facts of its request."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := current_request_id.get()) != "-":
            line |= {"request_id": request, **current_facts.get({})}
        if trace := tracing.trace_id():
            line["trace_id"] = trace
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
