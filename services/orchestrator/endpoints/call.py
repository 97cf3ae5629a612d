"""A call of a teacher by its content, its key in the cache, and its reply as a text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import TypeVar

from services.core.decoding import Decoding
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel

VERSION = 2
"""Version of keys and replies.

Replies of another version are not found, and pruning removes them.
"""
OF_IMAGE = 8
"""Bytes that all keys of an image begin with, so that they are on the same pages."""
Reply = TypeVar("Reply", AnnotationReply, AnswerReply)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the teacher by its content.

    `asked`: the task, or the question; `text`: the whole prompt.
    """

    kind: str
    image_sha256: str
    asked: str
    text: str
    decoding: Decoding
    guided: bool = False

    def key(self, model: TeacherModel) -> bytes:
        """Hash of everything that decides the reply."""
        decoding = self.decoding
        content = [
            VERSION,
            model.fingerprint,
            model.serving_sha256,
            self.kind,
            self.image_sha256,
            # A task limits the reply; a question is part of the text.
            self.asked if self.kind == "annotate" else "",
            self.text,
            self.guided,
            decoding.temperature,
            decoding.top_p,
            decoding.max_new_tokens,
            decoding.seed,
        ]
        image = hashlib.sha256(self.image_sha256.encode()).digest()
        return image[:OF_IMAGE] + hashlib.sha256(json.dumps(content).encode()).digest()


def write_reply(reply: AnnotationReply | AnswerReply, run: str) -> str:
    """The reply as JSON. `run`: id of the run that has paid for it."""
    given = {field.name: getattr(reply, field.name) for field in fields(reply)}
    content = {name: value for name, value in given.items() if value is not None}
    provenance = reply.provenance
    content["provenance"] = {
        "finish_reason": provenance.finish_reason,
        "system_fingerprint": provenance.system_fingerprint,
        "usage": {field.name: getattr(provenance.usage, field.name) for field in fields(Usage)},
        "run": run,
    }
    return json.dumps(content, ensure_ascii=False)


def read_reply(text: str, kind: type[Reply], run: str) -> Reply:
    """The reply, marked as cached unless `run` itself has paid for it."""
    content = json.loads(text)
    stored = content.pop("provenance")
    is_own = run != "" and stored.get("run") == run
    provenance = Provenance(
        FinishReason(stored["finish_reason"]),
        Usage(**stored["usage"]),
        stored["system_fingerprint"],
        is_cached=not is_own,
    )
    return kind(**content, provenance=provenance)
