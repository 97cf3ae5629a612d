"""The page over a real port: what it shows, whom it asks, and what it keeps."""

import json
import re
from dataclasses import replace

import httpx
import pytest

from services.core.errors import InvalidInput
from services.engines.fake import true_answer
from services.engines.images import sha256
from services.rpc.access.keys import KeyLimits
from services.student.production import SampleSettings
from services.student.settings import StudentSettings
from services.student.tryout.pages import HEADERS, TITLES
from tests.pictures import png
from tests.rpc.access.keyring import one_key_for_each_role
from tests.serving import fake_student_settings, teacher_at
from tests.student.over_http import IMAGE, publish, student_over_http
from tests.waiting import until

QUESTION = "what color is it?"
BROWSER = {"accept": "text/html,application/xhtml+xml"}
HTML = "<script>alert(1)</script>\"'><b>&amp;"


def settings_of(folder, teacher="", rate=0.0, **model):
    samples = SampleSettings(folder / "samples", rate, 2**30)
    return replace(
        fake_student_settings(folder, skill=1.0, **model),
        has_try_page=True,
        try_teacher=teacher,
        samples=samples,
    )


@pytest.fixture
async def served(tmp_path):
    async with student_over_http(settings_of(tmp_path)) as served:
        yield served


@pytest.fixture
async def http(served):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        yield http


async def ask(http, question=QUESTION, image=IMAGE, headers=None, **fields):
    data = {"question": question, **fields}
    return await http.post("/try/answers", files={"image": image}, data=data, headers=headers)


async def judge(http, name, verdict="up", headers=None):
    data = {"answer": name, "verdict": verdict}
    return await http.post("/try/verdicts", data=data, headers=headers)


def samples(folder):
    found = sorted((folder / "samples").glob("*/samples.jsonl"))
    return [json.loads(line) for path in found for line in path.read_bytes().splitlines()]


async def test_the_page_and_its_files_have_the_headers_and_nothing_inline(http):
    for path in ("/try", "/try/tryout.css", "/try/tryout.js"):
        reply = await http.get(path)
        assert reply.status_code == 200
        kept = {name: text for name, text in HEADERS.items() if name != "Cache-Control"}
        assert {name: reply.headers[name] for name in kept} == kept
        assert (await http.head(path)).status_code == 200
    page = (await http.get("/try")).text
    assert page.count("<script") == 1
    assert '<script type="module" src="/try/tryout.js"></script>' in page
    assert not re.search(r"<style| style=|\son\w+=|https?://", page)
    assert len(re.findall(r'\bid="([\w-]+)"', page)) == len(set(re.findall(r'\bid="(.+?)"', page)))
    script = (await http.get("/try/tryout.js")).text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert all(title in script for title in TITLES.values()), "the names of the columns agree"


async def test_the_page_is_off_by_default(tmp_path):
    async with (
        student_over_http(fake_student_settings(tmp_path)) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        for path in ("/try", "/try/tryout.js"):
            assert (await http.get(path)).status_code == 404
        assert (await ask(http)).status_code == 404
        assert (await judge(http, "x")).status_code == 404


async def test_the_live_version_answers_with_its_name_time_and_probability(http):
    reply = (await ask(http, model="live")).json()
    assert reply["models"] == ["live"]
    (answer,) = reply["answers"]
    assert answer["answer"] == true_answer(sha256(IMAGE), QUESTION)
    assert (answer["model"], answer["version"], answer["trouble"]) == ("live", "v1", "")
    assert answer["seconds"] > 0
    assert answer["logprob"] <= 0 < answer["probability"] <= 1


async def test_a_candidate_is_asked_once_it_is_loaded(served, http, tmp_path):
    name = publish(served.student, tmp_path / "worse", skill=0.0)
    await served.student.versions.load(name)
    reply = (await ask(http, model="candidate")).json()
    assert reply["models"] == ["live", "candidate"]
    assert reply["answers"][0]["version"] == name
    assert reply["answers"][0]["answer"] != true_answer(sha256(IMAGE), QUESTION)
    both = (await ask(http)).json()["answers"]
    assert [each["version"] for each in both] == ["v1", name]
    page = await ask(http, headers=BROWSER)
    assert TITLES["live"] in page.text
    assert TITLES["candidate"] in page.text


async def test_the_teacher_is_asked_under_the_students_conditions(tmp_path):
    async with teacher_at(tmp_path / "teacher", skill=1.0) as address:
        settings = settings_of(tmp_path, address)
        async with (
            student_over_http(settings) as served,
            httpx.AsyncClient(base_url=served.url, timeout=60) as http,
        ):
            live, teacher = (await ask(http)).json()["answers"]
    assert (live["model"], teacher["model"]) == ("live", "teacher")
    assert teacher["answer"] == true_answer(sha256(IMAGE), QUESTION)
    assert (teacher["judged_as"], teacher["logprob"], teacher["trouble"]) == ("", None, "")


async def test_questions_to_the_teacher_count_for_the_rate_of_a_key(tmp_path):
    keys = one_key_for_each_role(tmp_path)
    token = keys.add("few", "ask", limits=KeyLimits(requests_per_minute=1))
    header = {"authorization": f"Bearer {token}"}
    async with (
        teacher_at(tmp_path / "teacher", skill=1.0) as address,
        student_over_http(settings_of(tmp_path, address), access=keys.access()) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as http,
    ):
        asked = [await ask(http, model="teacher", headers=header) for _ in range(2)]
    assert [reply.status_code for reply in asked] == [200, 429]


async def test_a_teacher_that_cannot_be_reached_costs_only_its_column(tmp_path):
    address = "127.0.0.1:1"
    async with (
        student_over_http(settings_of(tmp_path, address)) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as http,
    ):
        live, teacher = (await ask(http)).json()["answers"]
        alone = await ask(http, model="teacher")
    assert live["answer"] == true_answer(sha256(IMAGE), QUESTION)
    assert "can't be asked now" in teacher["trouble"]
    assert (alone.status_code, alone.json()["error"]["reason"]) == (503, "TEACHER_UNREACHABLE")
    assert address not in teacher["trouble"] + alone.text, "strangers don't learn the address"


async def test_a_thumb_keeps_the_answer_as_a_sample_whatever_the_rate(served, http, tmp_path):
    (answer,) = (await ask(http)).json()["answers"]
    assert samples(tmp_path) == []
    assert (await judge(http, answer["judged_as"], "down")).json() == {"verdict": "down"}
    await until(lambda: samples(tmp_path))
    (kept,) = samples(tmp_path)
    assert kept.pop("time")
    assert kept == {
        "image": sha256(IMAGE),
        "question": QUESTION,
        "answer": answer["answer"],
        "version": "v1",
        "verdict": "down",
    }
    assert [path.read_bytes() for path in tmp_path.glob("samples/*/images/*")] == [IMAGE]
    again = await judge(http, answer["judged_as"], "up")
    assert (again.status_code, again.json()["error"]["reason"]) == (404, "ANSWER_NOT_FOUND")


async def test_without_a_folder_of_samples_there_are_no_thumbs(tmp_path):
    settings = replace(settings_of(tmp_path), samples=SampleSettings())
    async with (
        student_over_http(settings) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        assert (await ask(http)).json()["answers"][0]["judged_as"] == ""
        page = (await ask(http, headers=BROWSER)).text
    assert page.count("/try/verdicts") == 1, "in the template alone"


async def test_a_forgotten_image_cannot_be_judged(served, tmp_path):
    settings = settings_of(tmp_path / "forgetful")
    rpc = replace(settings.rpc, images=replace(settings.rpc.images, cache_mib=0))
    async with (
        student_over_http(replace(settings, rpc=rpc)) as forgetful,
        httpx.AsyncClient(base_url=forgetful.url) as http,
    ):
        (answer,) = (await ask(http)).json()["answers"]
        refused = await judge(http, answer["judged_as"])
    assert refused.status_code == 404
    assert "ask again" in refused.json()["error"]["message"]


async def test_a_browser_without_javascript_gets_pages(http, tmp_path):
    page = await ask(http, headers=BROWSER)
    assert page.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert true_answer(sha256(IMAGE), QUESTION) in page.text
    (name,) = re.findall(r'name="answer" value="(.+?)"', page.text)
    judged = await judge(http, name, headers=BROWSER)
    assert "is right" in judged.text
    await until(lambda: samples(tmp_path))
    wrong = await ask(http, image=b"no image", headers=BROWSER)
    assert (wrong.status_code, wrong.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert 'role="alert"' in wrong.text


async def test_markup_in_a_question_is_text(http):
    for reply in (
        await ask(http, HTML, headers=BROWSER),
        await ask(http, HTML, model=HTML, headers=BROWSER),
    ):
        assert "<script>alert" not in reply.text
        assert "<b>" not in reply.text
        assert "&lt;script&gt;" in reply.text


async def test_a_page_of_another_site_neither_asks_nor_judges(http, tmp_path):
    (answer,) = (await ask(http)).json()["answers"]
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for refused in (
            await ask(http, headers=headers),
            await judge(http, answer["judged_as"], headers=headers),
        ):
            assert (refused.status_code, refused.json()["error"]["reason"]) == (
                403,
                "FOREIGN_ORIGIN",
            )
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    assert (await ask(http, headers=rebound)).status_code == 403
    assert (await judge(http, answer["judged_as"])).status_code == 200, "it was still to judge"


async def test_wrong_forms_are_refused(http):
    assert (await ask(http, question=" ")).json()["error"]["reason"] == "QUESTION_EMPTY"
    assert (await ask(http, model="v1")).json()["error"]["param"] == "model"
    assert (await judge(http, "x" * 2_000)).status_code == 413
    assert (await judge(http, "x", "sideways")).json()["error"]["param"] == "verdict"
    no_form = await http.post("/try/verdicts", json={"answer": "x"})
    assert no_form.json()["error"]["param"] == "content-type"


async def test_with_keys_the_page_is_open_and_answers_are_not(tmp_path):
    keys = one_key_for_each_role(tmp_path)
    keys.add("other", "ask")
    keys.add("light", "ask", limits=KeyLimits(pixels_per_minute=100))
    async with (
        student_over_http(settings_of(tmp_path), access=keys.access()) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        assert (await http.get("/try")).status_code == 200
        for token, status in (("", 401), ("mpa-x-y", 401), (keys.tokens["read"], 403)):
            header = {"authorization": f"Bearer {token}"} if token else {}
            assert (await ask(http, headers=header)).status_code == status
            assert (await judge(http, "x", headers=header)).status_code == status
        own, other, light = (
            {"authorization": f"Bearer {keys.tokens[name]}"} for name in ("ask", "other", "light")
        )
        named = {**own, "host": "student.example", "origin": "https://student.example"}
        (answer,) = (await ask(http, headers=named)).json()["answers"]
        assert (await judge(http, answer["judged_as"], headers=other)).status_code == 404
        assert (await judge(http, answer["judged_as"], headers=own)).status_code == 200
        assert (await ask(http, image=png(size=(64, 64)), headers=light)).status_code == 200
        limited = await ask(http, image=png(size=(65, 65)), headers=light)
        assert (limited.status_code, "pixels" in limited.text) == (429, True)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"TRY_PAGE": "maybe"}, "MPA_STUDENT_TRY_PAGE"),
        ({"TRY_TEACHER": "h:1"}, "MPA_STUDENT_TRY_TEACHER"),
    ],
)
def test_a_wrong_setting_names_its_variable(variables, named):
    with pytest.raises(InvalidInput, match=named):
        StudentSettings.from_env({f"MPA_STUDENT_{key}": value for key, value in variables.items()})
