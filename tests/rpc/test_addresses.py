"""Notations of an endpoint with several replicas."""

import pytest

from services.rpc.addresses import Target, resolve


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [
        ("127.0.0.1:1", ["127.0.0.1:1"]),
        ("localhost:1", ["localhost:1"]),
        ("dns:///127.0.0.1:1", ["127.0.0.1:1"]),
        ("dns:127.0.0.1:1", ["127.0.0.1:1"]),
        ("127.0.0.2:1,127.0.0.1:1", ["127.0.0.1:1", "127.0.0.2:1"]),
        ("127.0.0.2:1, 127.0.0.1:1,", ["127.0.0.1:1", "127.0.0.2:1"]),
        ("ipv4:127.0.0.2:1,127.0.0.1:1", ["ipv4:127.0.0.1:1", "ipv4:127.0.0.2:1"]),
        ("ipv6:[::1]:1,[::1]:2", ["ipv6:[::1]:1", "ipv6:[::1]:2"]),
        ("[::1]:1", ["[::1]:1"]),
        ("unix:/tmp/socket", ["unix:/tmp/socket"]),
        ("unix:///tmp/socket", ["unix:///tmp/socket"]),
        ("xds:///name", ["xds:///name"]),
        ("dns://8.8.8.8/name:1", ["dns://8.8.8.8/name:1"]),
        ("no-such-host.invalid:1", ["no-such-host.invalid:1"]),
        ("no..host:1", ["no..host:1"]),
        ("name", ["name"]),
    ],
)
async def test_an_endpoint_is_one_target_for_each_replica(endpoint, names):
    assert [target.name for target in await resolve(endpoint)] == names


async def test_a_name_with_several_addresses_is_several_replicas():
    async def look_up(name, port):
        return {"many": ["10.0.0.2", "10.0.0.1", "10.0.0.1", "::1"], "one": ["10.0.0.3", "::1"]}[
            name
        ]

    assert await resolve("dns:///many:7", (), look_up) == (
        Target("ipv4:10.0.0.1:7", "many:7"),
        Target("ipv4:10.0.0.2:7", "many:7"),
    )
    assert await resolve("one:7", (), look_up) == (Target("one:7"),)
    assert len(await resolve("one:7,many:7", (), look_up)) == 3


async def test_replicas_stay_while_dns_does_not_answer():
    async def look_up(name, port):
        raise OSError("try again later")

    known = (Target("ipv4:10.0.0.1:7", "many:7"), Target("ipv4:10.0.0.2:7", "many:7"))
    assert await resolve("many:7", known, look_up) == known
    assert await resolve("many:7,other:7", known, look_up) == (*known, Target("other:7"))
