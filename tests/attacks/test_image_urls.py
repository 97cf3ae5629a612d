"""Image URLs that would have the service call somebody whom nobody may make it call.

The service has a file of hosts of its own, which the attacker's name server writes: names of
private networks, of both kinds of network, and names that change between a check and a call.
"""

import asyncio
import base64
import gzip
import json
import os
import subprocess

import pytest

from tests import tools
from tests.attacks.attack import over_http, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.origins import ALLOWED, NAMES, NUMBERS, SECRET, Origins, hosts_of
from tests.attacks.outcomes import request
from tests.attacks.test_completions import chat, part, turn

pytestmark = pytest.mark.slow
TIME_S = 2


@pytest.fixture(scope="package")
def origins(tmp_path_factory):
    return Origins(tmp_path_factory.mktemp("origins"))


@pytest.fixture
def fetching(targets, model, origins):
    """A student that reads images of the origins' names."""
    own_hosts = ("sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(origins.hosts))
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    unshare = (tools.program("unshare", "it gives a service hosts of its own"), "--mount", *rights)
    if subprocess.run([*unshare, *own_hosts, "true"], capture_output=True).returncode:
        tools.missing("this machine lets nobody mount: a service can't have hosts of its own")
    names = [f"{name}:{origins.port}" for name in (*NAMES, *NUMBERS)]
    return targets.get(
        "fetching",
        "student",
        model=model,
        within=(*unshare, *own_hosts),
        image_hosts=",".join(names),
        image_networks=f"{ALLOWED}/32",
        image_ca=origins.authority.path,
        image_url_s=TIME_S,
    )


def asked(url):
    return chat(url[:60], turn(part(url)), expected=("400", "413"))


async def are_refused(fetching, origins, *urls):
    await withstand(fetching, *map(asked, urls))
    assert origins.secrets == 0, "the secret server was called"


async def test_an_image_of_an_allowed_host_is_read(fetching, origins):
    """The attacks below fail by their own fault, and not since nothing is read at all."""
    async with origins.serving():
        attack = chat("an image", turn(part(origins.url("/image"))), expected=("200",))
        await withstand(fetching, attack)


PRIVATE = {
    "a private network": ["private.test", "inner.test"],
    "the machine's metadata": ["metadata.test"],
    "another service of this network": ["secret.test", "mapped.test"],
    "a public and a private address": ["both.test"],
    "this machine": ["localhost"],
    "this machine in numbers": NUMBERS,
}


@pytest.mark.parametrize("kind", PRIVATE)
async def test_an_allowed_name_of(fetching, origins, kind):
    async with origins.serving():
        urls = [origins.url("/image", name) for name in PRIVATE[kind]]
        await are_refused(fetching, origins, *urls)


async def test_a_name_that_changes_between_check_and_call(fetching, origins):
    """Rebinding: the name has a harmless address when it is checked, and a secret one later."""
    content = json.dumps({"messages": [turn(part(origins.url("/image", "rebinding.test")))]})

    async def rebind():
        while True:
            for address in (SECRET, ALLOWED):
                origins.hosts.write_text(hosts_of(rebinding_test=[address]))
                await asyncio.sleep(0.0005)

    async with besieged(fetching), origins.serving():
        rebinding = asyncio.create_task(rebind())
        outcomes = [
            await request(
                fetching.url,
                path="/v1/chat/completions",
                content=content,
                headers={"content-type": "application/json"},
            )
            for _ in range(60)
        ]
        rebinding.cancel()
        origins.hosts.write_text(hosts_of())
        assert origins.secrets == 0
    assert {outcome.status for outcome in outcomes} <= {"200", "400"}


@pytest.mark.parametrize("path", ["/redirect", "/forever", "/file", "/refresh", "/hints"])
async def test_a_reply_that_leads_elsewhere(fetching, origins, path):
    origins.paths.clear()
    async with origins.serving():
        await are_refused(fetching, origins, origins.url(path))
    assert origins.paths == [path], "it is asked once"


async def test_a_reply_that_is_no_image(fetching, origins):
    async with origins.serving():
        paths = ("/html", "/part", "/login", "/upgrade", "/long")
        await are_refused(fetching, origins, *map(origins.url, paths))


@pytest.mark.parametrize("path", ["/bomb", "/endless", "/drip", "/silent", "/headers"])
async def test_a_reply_without_an_end(fetching, origins, path):
    async with origins.serving():
        await are_refused(fetching, origins, origins.url(path))


async def test_a_server_with_a_certificate_of_another_authority(fetching, origins):
    async with origins.serving(wrong=True):
        origins.paths.clear()
        await are_refused(fetching, origins, origins.url("/image"))
    assert not origins.paths


async def test_many_images_that_never_come(fetching, origins):
    """They take up their caller's room for reading URLs, and no room for questions."""
    content = json.dumps({"messages": [turn(part(origins.url("/silent")))]})
    async with besieged(fetching) as bystander, origins.serving():
        asking = [
            asyncio.create_task(
                request(
                    fetching.url,
                    path="/v1/chat/completions",
                    content=content,
                    headers={"content-type": "application/json"},
                )
            )
            for _ in range(60)
        ]
        await bystander.is_served()
        statuses = {(await each).status for each in asking}
    assert statuses <= {"400", "429"}


SCHEMES = [
    "http://images.test:{port}/image",
    "gopher://images.test:{port}/_GET",
    "ftp://images.test:{port}/image",
    "file:///etc/passwd",
    "file://images.test/etc/passwd",
    "dict://images.test:{port}/x",
    "ldap://images.test:{port}/x",
    "jar:https://images.test:{port}/image!/",
    "blob:https://images.test/x",
    "javascript:fetch('/')",
    "unix:///var/run/docker.sock",
    "//images.test:{port}/image",
    "https:images.test",
]
LIKE_HOSTS = [
    "https://images.test:{port}@secret.test:{port}/image",
    "https://secret.test#@images.test:{port}/image",
    "https://images.test\\@secret.test:{port}/image",
    "https://images.test%2f.evil.test:{port}/image",
    "https://images.test.evil.test:{port}/image",
    "https://ｉmages.test.evil:{port}/image",
    "https://images.test:{port}\r\nhost: secret.test/image",
    "https://images.test:22/image",
]


async def test_other_schemes(fetching, origins):
    async with origins.serving():
        urls = [url.replace("{port}", str(origins.port)) for url in SCHEMES]
        await are_refused(fetching, origins, *urls)


async def test_hosts_that_look_like_an_allowed_one(fetching, origins):
    async with origins.serving():
        urls = [url.replace("{port}", str(origins.port)) for url in LIKE_HOSTS]
        await are_refused(fetching, origins, *urls)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="https://secret.test/"/></svg>'
XML = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'
DATA = {
    "a page": ("text/html", b"<script src='https://secret.test/'></script>"),
    "a drawing that loads another": ("image/svg+xml", SVG),
    "a drawing that reads a file": ("image/svg+xml", XML),
    "a program": ("application/x-sh", b"#!/bin/sh\ntouch /tmp/attacked\n"),
    "a pickle": ("application/octet-stream", b"cos\nsystem\n(S'touch /tmp/attacked'\ntR."),
    "packed": ("image/png", gzip.compress(IMAGE)),
    "a data URI within": ("image/png", b"data:image/png;base64," + base64.b64encode(IMAGE)),
}


@pytest.mark.parametrize("kind", DATA)
async def test_data_that_is_no_image(student, kind):
    media, data = DATA[kind]
    await withstand(student, asked(f"data:{media};base64,{base64.b64encode(data).decode()}"))


async def test_data_in_another_coding(student):
    urls = ("data:image/png,%89PNG", "data:;base64;base64,", "data:" + "a" * 10_000, "DATA:,")
    await withstand(student, *map(asked, urls))


async def test_an_image_in_vqa_is_never_a_url(fetching, origins):
    async with origins.serving():
        origins.paths.clear()
        urls = origins.url("/image"), origins.url("/image", "secret.test")
        await withstand(
            fetching, *(over_http(url, json={"image": url, "question": "what?"}) for url in urls)
        )
        assert not origins.paths and not origins.secrets
