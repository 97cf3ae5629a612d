"""Hosts of image URLs: addresses that are public, and settings."""

import ipaddress

import pytest

from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc.http.completions.hosts import ImageUrlSettings, is_public


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.2.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
        ("2001:db8::1", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_HOSTS", "https://a.b"),
        ("IMAGE_HOSTS", "a.b/c"),
        ("IMAGE_HOSTS", "me@a.b"),
        ("IMAGE_HOSTS", "a.b:x"),
        ("IMAGE_HOSTS", ":443"),
        ("IMAGE_NETWORKS", "10.0.0.0/33"),
        ("IMAGE_NETWORKS", "10.0.0.1/8"),
        ("IMAGE_CA", "/nowhere/ca.pem"),
        ("IMAGE_URL_S", "0"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(name, value):
    with pytest.raises(InvalidInput, match=f"X_{name}") as refused:
        ImageUrlSettings.from_environment(Environment("X_", {f"X_{name}": value}))
    assert refused.value.field == f"X_{name}"
