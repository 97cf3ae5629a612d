import pytest

from services.rpc.access.tls import TlsFiles
from tests.rpc.access.authority import Authority
from tests.rpc.access.keyring import one_key_for_each_role


@pytest.fixture
def keys(tmp_path):
    """Keys with one role each, by the role's name."""
    return one_key_for_each_role(tmp_path)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def tls(authority):
    """Files of a service, which asks its clients for no certificate."""
    return TlsFiles(*authority.issue("service"))
