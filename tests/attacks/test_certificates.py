"""Client certificates that are strange, and keys without one."""

import ssl

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, types_pb2
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, call
from tests.attacks.target import PATIENCE_S, Identity
from tests.rpc.access.authority import Authority

pytestmark = pytest.mark.slow
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")


@pytest.fixture(scope="package")
def strange_certificates(authority, keys, tmp_path_factory):
    """Certificates that must not open anything, by name."""
    keys.add("operator", "ask", "operate", certificate="operator.example")
    folder = tmp_path_factory.mktemp("strangers")
    forged = tmp_path_factory.mktemp("forged")
    return {
        "of another authority": Authority(folder, "other").issue("operator.example"),
        "of an authority of the same name": Authority(forged).issue("operator.example"),
        "expired": authority.issue("operator.example.old", "operator.example", days=-1),
    }


@pytest.mark.parametrize(
    "kind", ["of another authority", "of an authority of the same name", "expired"]
)
async def test_certificates_that_are_not_valid(sealed, strange_certificates, authority, kind):
    pair = strange_certificates[kind]
    context = ssl.create_default_context(cafile=authority.path)
    context.load_cert_chain(*pair)
    async with besieged(sealed):
        with pytest.raises(httpx.TransportError):
            await _status_over_http(sealed, context)
        assert await _status_over_grpc(sealed, Identity(authority.path, *pair)) == "UNAVAILABLE"


UNKNOWN = {
    "of a name without a key": ("eve.example",),
    "of a name with NUL": ("operator.example\0.evil.example",),
    "of a name in capitals": ("OPERATOR.EXAMPLE",),
    "of a name with blanks": (" operator.example ",),
    "of a pattern": ("*.example", "*.example"),
    "of a name within another": ("evil", "operator.example.evil.example"),
}


async def test_certificates_of_other_names(sealed, strange_certificates, authority):
    """The authority's own, but none that stands for a key."""
    async with besieged(sealed):
        for kind, names in UNKNOWN.items():
            identity = Identity(authority.path, *authority.issue(*names))
            assert await _status_over_http(sealed, identity.context()) == 401, kind
            assert await _status_over_grpc(sealed, identity) == "UNAUTHENTICATED", kind


async def test_a_key_without_a_certificate(sealed, keys, authority):
    key = {"authorization": f"Bearer {keys.tokens['ask']}"}
    async with besieged(sealed):
        context = ssl.create_default_context(cafile=authority.path)
        assert await _status_over_http(sealed, context, **key) == 401
        assert await _status_over_grpc(sealed, Identity(authority.path), **key) == "UNAVAILABLE"


async def test_a_certificate_with_a_key_of_another_role(sealed, keys):
    key = {"authorization": f"Bearer {keys.tokens['read']}"}
    async with besieged(sealed):
        assert await _status_over_http(sealed, sealed.tls, **key) == 403
        assert await _status_over_grpc(sealed, sealed.identity, **key) == "PERMISSION_DENIED"


async def _status_over_http(target, context, **headers):
    async with httpx.AsyncClient(verify=context, headers=headers, timeout=PATIENCE_S) as http:
        reply = await http.post(
            f"{target.url}/v1/vqa", files={"image": IMAGE}, data={"question": "what?"}
        )
        return reply.status_code


async def _status_over_grpc(target, identity, **metadata):
    options = [("grpc.use_local_subchannel_pool", 1)]
    credentials = identity.credentials()
    async with grpc.aio.secure_channel(target.address, credentials, options=options) as channel:
        return (await call(channel, ANSWER, REQUEST, metadata=tuple(metadata.items()))).status
