import pytest

from services.core.questions import question_kind


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is there a cat?", "yes/no"),
        ("does the image not contain a red shape?", "yes/no"),
        ("How many birds?", "how many"),
        ("what color is the shape?", "what color"),
        ("what is the color of the circle?", "what color"),
        ("what is the blue shape?", "what is"),
        ("Which brand is it?", "which brand"),
        ("???", "other"),
    ],
)
def test_question_kind(question, kind):
    assert question_kind(question) == kind
