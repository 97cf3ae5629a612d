"""Annotations from replies that are withheld, cut off or verbose."""

import pytest

from services.core.annotation import Annotation, Rejection
from services.core.decoding import GREEDY
from services.core.provenance import FinishReason
from services.core.tasks import TASKS
from services.engines.batching import never
from services.engines.images import load_image
from services.engines.model import (
    Reply,
)
from services.engines.teacher import HostedTeacher
from tests.pictures import png

WHOLE = "Question: What color is it?\nAnswer: red"


class Says:
    """A model that gives one reply."""

    fingerprint = "f"

    def __init__(self, text, reason):
        self._reply = Reply(text, 1, 1, reason)

    async def generate(self, prompt):
        return self._reply

    async def death(self):
        return await never()

    async def close(self):
        pass


@pytest.mark.parametrize(
    ("text", "reason", "outcome"),
    [
        (WHOLE, FinishReason.STOP, Annotation("What color is it?", "red")),
        (WHOLE, FinishReason.REFUSAL, Rejection.REFUSAL),
        (WHOLE, FinishReason.CONTENT_FILTER, Rejection.CONTENT_FILTER),
        ("", FinishReason.CONTENT_FILTER, Rejection.CONTENT_FILTER),
        ("", FinishReason.LENGTH, Rejection.CUT_OFF),
        ("Question: What col", FinishReason.LENGTH, Rejection.CUT_OFF),
        (
            WHOLE,
            FinishReason.LENGTH,
            Rejection.CUT_OFF,
        ),  # "red" might have become "redwood"
        ("Question: What color is it?, Answer: red", FinishReason.LENGTH, Rejection.CUT_OFF),
        (
            f"{WHOLE}\nI chose this since",
            FinishReason.LENGTH,
            Annotation("What color is it?", "red"),
        ),
        (
            f"{WHOLE}\nQuestion: How many",
            FinishReason.LENGTH,
            Annotation("What color is it?", "red"),
        ),
    ],
)
async def test_an_annotation_that_was_withheld_or_cut_off_is_none(text, reason, outcome):
    annotated = await HostedTeacher(Says(text, reason)).annotate(
        load_image(png()), TASKS["vqa"], "", GREEDY
    )
    assert annotated.outcome == outcome
