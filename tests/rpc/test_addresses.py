"""Notations of an endpoint with several replicas."""

import pytest

from services.rpc.addresses import resolve


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [
        ("127.0.0.1:1", ["127.0.0.1:1"]),
        ("localhost:1", ["localhost:1"]),
        ("dns:///127.0.0.1:1", ["127.0.0.1:1"]),
        ("dns:127.0.0.1:1", ["127.0.0.1:1"]),
        ("127.0.0.2:1,127.0.0.1:1", ["127.0.0.1:1", "127.0.0.2:1"]),
        ("ipv4:127.0.0.2:1,127.0.0.1:1", ["ipv4:127.0.0.1:1", "ipv4:127.0.0.2:1"]),
        ("ipv6:[::1]:1,[::1]:2", ["ipv6:[::1]:1", "ipv6:[::1]:2"]),
        ("[::1]:1", ["[::1]:1"]),
        ("unix:/tmp/socket", ["unix:/tmp/socket"]),
        ("unix:///tmp/socket", ["unix:///tmp/socket"]),
        ("xds:///name", ["xds:///name"]),
        ("dns://8.8.8.8/name:1", ["dns://8.8.8.8/name:1"]),
        ("no-such-host.invalid:1", ["no-such-host.invalid:1"]),
        ("name", ["name"]),
    ],
)
async def test_an_endpoint_is_one_target_for_each_replica(endpoint, names):
    assert [target.name for target in await resolve(endpoint)] == names
