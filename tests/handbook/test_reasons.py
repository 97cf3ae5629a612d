"""docs/errors.md explains each reason that the code can give, and no other."""

from handbook.reasons import explained_reasons, reasons_in_code
from services.core import errors


def test_each_reason_is_explained_once():
    explained = explained_reasons()
    assert sorted(explained) == sorted(reasons_in_code())


def test_the_reasons_of_all_classes_of_errors_are_found():
    kinds = [errors.MpaError, *_below(errors.MpaError)]
    assert len(kinds) > 15
    assert {kind.reason for kind in kinds} <= set(reasons_in_code())


def _below(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def test_reasons_are_found_wherever_they_are_named():
    found = reasons_in_code()
    assert "services/rpc/access/keys.py" in found["KEY_EXPIRED"]  # returned by a function
    assert "services/rpc/http/protocol.py" in found["HEADERS_TOO_LARGE"]  # given by its place
    assert "services/orchestrator/steps/anchoring.py" in found["ANCHORS_UNKNOWN"]  # a constant
    assert "services/rpc/limits.py" in found["TEXT_TOO_LONG"]  # a default
    assert "services/engines/images.py" in found["IMAGE_TOO_NARROW"]  # one of two
