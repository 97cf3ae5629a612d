"""Values for requests from the OpenAPI document that no schema can state.

schemathesis loads it (SCHEMATHESIS_HOOKS) and takes images of the document's formats from it.
"""

import base64

import schemathesis
from hypothesis import strategies as st

from services.rpc.http.completions.body import IMAGE_URL
from services.rpc.http.completions.openapi import IMAGE_BYTES
from tests.pictures import png
from tests.student.over_http import data_url, turn

FILES = st.sampled_from([png("red"), png("teal", size=(48, 48))])

schemathesis.openapi.format("binary", FILES)
schemathesis.openapi.format(IMAGE_BYTES, FILES.map(lambda file: base64.b64encode(file).decode()))
schemathesis.openapi.format(IMAGE_URL, FILES.map(data_url))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Ends a valid conversation by a question about an image: the last turn is the one asked."""
    is_valid = case.meta is None or case.meta.generation.mode.is_positive
    if is_valid and isinstance(case.body, dict) and "messages" in case.body:
        case.body["messages"].append(turn("what color is it?", data_url()))


@schemathesis.hook
def filter_case(context, case):
    """Leaves out forms with fields of other types: in a form, all of them would be texts."""
    is_form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    return not is_form or not any(
        value is None or isinstance(value, (bool, int, float, list, dict))
        for value in case.body.values()
    )
