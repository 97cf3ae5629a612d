"""Headers of every response, and hosts that are refused."""

import pytest

from services.orchestrator.ui.guard import HEADERS
from tests.orchestrator.ui.exhibits import serving

PATHS = [
    "/",
    "/runs",
    "/runs.json",
    "/runs/a/overview",
    "/runs/a/records?x=1",
    "/runs/none/overview",
    "/runs/a/images/none/small",
    "/static/explorer.css",
    "/static/explorer.js",
    "/static/none",
    "/none",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_headers(client, path):
    for answer in (client.get(path), client.post(path), client.get(path, headers={"Host": "x"})):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"
        assert "Traceback" not in answer.text


def test_no_page_has_scripts_or_styles_of_its_own(client):
    record = client.get("/runs/a/records.json").json()["records"][0]
    name = f"{record['image_sha256']}-0-0"
    for path in ("/runs", "/runs/a/overview", "/runs/a/records", f"/runs/a/records/{name}"):
        page = client.get(path).text
        assert page.count("<script") == 1
        assert '<script type="module" src="/static/explorer.js"></script>' in page
        assert "<style" not in page
        assert " style=" not in page
        assert " on" not in {attribute[:3] for attribute in page.split("<")}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil:1", "[::", ""],
)
def test_another_host_is_refused_on_loopback(client, host):
    answer = client.get("/runs", headers={"Host": host})
    assert answer.status_code == 403
    assert "mpa-orch ui has printed" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8600", "127.0.0.1:1", "[::1]:8600"])
def test_names_of_this_machine_are_served(client, host):
    assert client.get("/runs", headers={"Host": host}).status_code == 200


def test_where_others_are_let_in_the_host_and_addresses_are_served_but_no_other_name(root):
    with serving(root, "gpu1", is_loopback=False) as client:
        for host in ("gpu1:8600", "GPU1", "192.0.2.1:8600", "[2001:db8::1]:8600", "localhost"):
            assert client.get("/runs", headers={"Host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "gpu1.evil.example:80",
            "192.0.2.1.evil.example",
            "[gpu1]",
            "",
        ):
            assert client.get("/runs", headers={"Host": host}).status_code == 403, host


@pytest.mark.parametrize(
    ("bound", "host"),
    [("127.0.0.2", "127.0.0.2:8600"), ("::1", "[::1]:1"), ("0:0::1", "[0:0::1]:1")],
)
def test_the_address_that_it_listens_on_is_served(root, bound, host):
    with serving(root, bound) as client:
        assert client.get("/runs", headers={"Host": host}).status_code == 200
        assert client.get("/runs", headers={"Host": "127.0.0.3"}).status_code == 403


def test_views_can_only_be_read(client):
    own = {"Origin": str(client.base_url).rstrip("/")}
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = client.request(method, "/runs/a/records", headers=own)
        assert answer.status_code == 405
        assert client.request(method, "/runs/a/records").status_code == 403


@pytest.mark.parametrize(("mode", "code"), [("no-cors", 403), ("cors", 403), ("navigate", 200)])
def test_another_site_may_link_to_a_view_and_load_none(client, mode, code):
    """A comparison of large runs takes seconds: an image of a foreign page could ask for it."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    assert client.get("/runs", headers=headers).status_code == code
