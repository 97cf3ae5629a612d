"""The page for people: what strangers, other sites and other keys may not do with it."""

import json

import httpx
import pytest

from tests.attacks.attack import over_http, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import request
from tests.pictures import png
from tests.student.over_http import asked, data_url, turn

pytestmark = pytest.mark.slow
FORM = {"files": {"image": IMAGE}, "data": {"question": "what is 1?"}}
VERDICT = {"data": {"answer": "x", "verdict": "up"}}
ROUTES = {"/try/answers": FORM, "/try/verdicts": VERDICT}
PAGE = {"accept": "text/html"}
MARKUP = "</textarea><script>alert(1)</script>"
FOREIGN = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)


@pytest.fixture
def tried(targets, model, keys, tmp_path_factory):
    """A student with keys, the page and samples."""
    return targets.get(
        "tried",
        "student",
        model=model,
        keys=keys.path,
        key=keys.tokens["bystander"],
        try_page=1,
        samples=tmp_path_factory.mktemp("samples"),
        sample_rate=0,
    )


def bearing(token):
    return {"authorization": f"Bearer {token}"}


def posted(name, path, expected, headers=None, **sent):
    return over_http(name, expected, path=path, headers=headers, **(sent or ROUTES[path]))


async def judged_as(target, header):
    outcome = await request(target.url, path="/try/answers", headers=header, **FORM)
    return json.loads(outcome.said)["answers"][0]["judged_as"]


async def test_the_page_where_it_is_off(guarded, keys):
    header = bearing(keys.tokens["ask"])
    await withstand(
        guarded,
        over_http("the page", ("404",), method="GET", path="/try"),
        over_http("its script", ("404",), method="GET", path="/try/tryout.js"),
        *(posted(path, path, ("404",), header) for path in ROUTES),
    )


async def test_a_wrong_key_on_the_page(tried, keys):
    wrong = [{}, bearing("mpa-00000000-" + "a" * 43), bearing(keys.tokens["revoked"])]
    await withstand(
        tried,
        *(posted(path, path, ("401",), header) for path in ROUTES for header in wrong),
        *(posted(path, path, ("403",), bearing(keys.tokens["read"])) for path in ROUTES),
    )


async def test_a_key_in_another_place(tried, keys):
    token = keys.tokens["ask"]
    names = ("key", "authorization", "access_token")
    places = [
        posted(
            f"a field {name}",
            "/try/answers",
            ("401",),
            files=FORM["files"],
            data={**FORM["data"], name: token},
        )
        for name in names
    ]
    places += [
        over_http(f"a query {name}", ("401",), path=f"/try/answers?{name}={token}", **FORM)
        for name in names
    ]
    cookie = {"cookie": f"mpa-key={token}; authorization=Bearer {token}"}
    await withstand(tried, *places, posted("a cookie", "/try/answers", ("401",), cookie))


async def test_a_page_of_another_site(tried, keys):
    """Also with a valid key, and for an answer that could be judged."""
    own = bearing(keys.tokens["ask"])
    name = await judged_as(tried, own)
    attacks = [
        posted(f"{path} from {headers}", path, ("403",), {**own, **headers}, **sent)
        for headers in FOREIGN
        for path, sent in (
            ("/try/answers", FORM),
            ("/try/verdicts", {"data": {"answer": name, "verdict": "down"}}),
        )
    ]
    await withstand(tried, *attacks)
    async with httpx.AsyncClient(base_url=tried.url) as http:
        preflight = await http.options("/try/verdicts", headers=FOREIGN[0])
        kept = await http.post("/try/verdicts", data={"answer": name, "verdict": "up"}, headers=own)
    assert not [header for header in preflight.headers if header.startswith("access-control")]
    assert kept.status_code == 200, "nobody had judged it before"


async def test_markup(tried, keys):
    header = {**bearing(keys.tokens["ask"]), **PAGE}
    async with besieged(tried):
        for data in (
            {"question": MARKUP},
            {"question": "what?", "model": MARKUP},
            {"question": "what?", MARKUP: "x", "model": f"live{MARKUP}"},
        ):
            outcome = await request(
                tried.url, path="/try/answers", files=FORM["files"], data=data, headers=header
            )
            assert outcome.reply.headers["content-type"].startswith("text/html")
            assert outcome.reply.headers["content-security-policy"].startswith("default-src 'self'")
            assert "<script>alert" not in outcome.said
            assert "&lt;script&gt;alert" in outcome.said


async def test_verdicts_on_other_answers(tried, keys):
    own, other = bearing(keys.tokens["ask"]), bearing(keys.tokens["bystander"])
    name = await judged_as(tried, own)

    def verdict(title, answer, expected, header=own, verdict="up"):
        data = {"answer": answer, "verdict": verdict}
        return posted(title, "/try/verdicts", expected, header, data=data)

    await withstand(
        tried,
        verdict("no name", "", ("404",)),
        verdict("a guess", "a" * 22, ("404",)),
        verdict("another key's", name, ("404",), other),
        verdict("another word", name, ("400",), verdict="\u202eup\0"),
        verdict("a megabyte", "a" * 2**20, ("413",)),
        verdict("its own", name, ("200",)),
        verdict("its own again", name, ("404",)),
    )


async def test_images_beyond_a_rate(tried, keys):
    """A million pixels a minute; the first image may exceed what is left, no later one."""
    large = png(size=(2_000, 2_000))
    chat = asked() | {"messages": [turn("what is 1?", data_url(large))]}
    header = bearing(keys.tokens["light"])
    async with besieged(tried):
        first = await request(tried.url, path="/v1/chat/completions", json=chat, headers=header)
        later = [
            await request(tried.url, path="/v1/chat/completions", json=chat, headers=header),
            await request(
                tried.url,
                path="/try/answers",
                files={"image": large},
                data=FORM["data"],
                headers=header,
            ),
        ]
    assert first.status == "200"
    assert [outcome.status for outcome in later] == ["429", "429"]
