"""A report is one file: it loads nothing, its links lead within it, and it is whole or absent."""

import hashlib
import io
import json
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from contextlib import closing
from html.parser import HTMLParser

import pytest
from PIL import Image
from typer.testing import CliRunner

from services.core.parity import Cell
from services.orchestrator.cli.main import app
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.run import read_run
from services.orchestrator.run.summary import summarise
from tests.browser.chromium import FLAGS, chromium
from tests.orchestrator.ui.exhibits import make_run
from tests.pictures import photo

HOSTILE = (
    '</style><script>alert("x")</script><img src=//evil.example/x> & \u202egnp.exe {{ 7*7 }} \x00'
)


def mpa_report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


class Elements(HTMLParser):
    """Elements of a page, and the texts of its headings and tables."""

    def __init__(self, page):
        super().__init__()
        self.found, self.ids, self.addresses = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
                self.addresses.append(value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    make_run(folder / "runs" / "a", folder / "pool")
    return folder / "runs"


@pytest.fixture(scope="module")
def page(runs):
    done = mpa_report(runs / "a", runs / "a.html")
    assert done.exit_code == 0, done.output
    return (runs / "a.html").read_text()


def test_the_file_loads_nothing_and_its_links_lead_to_places_in_it(page):
    elements = Elements(page)
    assert not {"script", "iframe", "object", "form", "link rel=stylesheet"} & set(elements.found)
    assert len(elements.ids) == len(set(elements.ids))
    places = {address for address in elements.addresses if not address.startswith("data:")}
    assert {"#records", "#content"} < places
    assert places <= {f"#{place}" for place in elements.ids}
    assert not re.search(r"url\(|@import", page)


def test_the_policy_allows_the_style_sheet_of_the_file_and_nothing_from_elsewhere(page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    allowed = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{allowed}'" in policy
    assert "prefers-color-scheme: dark" in style
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_the_numbers_are_those_of_the_summary_and_the_gap_comes_first(page, runs):
    with read_run(runs / "a") as run:
        summary = summarise(run.ledger)
    assert f'<a href="#cell-0">{summary.cells[Cell.GAP]}</a>' in page
    groups = re.findall(r'<h2 id="([^"]*)">.*?<small>(\d+) of (\d+)</small>', page)
    assert [place for place, _, _ in groups][:2] == ["cell-0", "cell-1"]
    assert int(groups[0][2]) == summary.cells[Cell.GAP]
    *whole, by_loss, sure = groups
    assert all(shown == found for _, shown, found in whole)
    assert int(by_loss[1]) == 60 < int(by_loss[2]), "the samples of the training"
    assert int(sure[1]) < int(groups[0][1]), "not every answer has a log-probability"
    assert "Highest loss in the training first" in page
    assert page.count('<li class="record"') == 120 + 1, "each annotation once, and a refused image"


def test_images_are_small_and_of_the_run(page):
    images = re.findall(r"data:image/webp;base64,([^\"]*)", page)
    assert len(images) == 120
    for data in images[:3]:
        with Image.open(io.BytesIO(b64decode(data))) as image:
            assert (image.format, image.size) == ("WEBP", (16, 16))


def test_records_are_a_sample_that_is_always_the_same(runs, tmp_path):
    pages = []
    for name in ("one.html", "two.html"):
        assert mpa_report(runs / "a", tmp_path / name, "--records", 3).exit_code == 0
        pages.append((tmp_path / name).read_text())
    one, two = (re.findall(r'<li class="record" id="([^"]*)"', text) for text in pages)
    assert one == two
    assert "At most 3 records of each group" in pages[0]
    assert re.findall(r"<small>(\d+) of (\d+)</small>", pages[0])[0] == ("3", "24")


def test_a_file_that_exists_is_replaced_only_by_force(runs, tmp_path):
    target = tmp_path / "mine.html"
    target.write_text("mine")
    done = mpa_report(runs / "a", target)
    assert done.exit_code == 1
    assert "already exists" in done.output
    assert "--force" in done.output
    assert target.read_text() == "mine"
    assert mpa_report(runs / "a", target, "--force").exit_code == 0
    assert target.read_text().startswith("<!doctype html>")
    assert mpa_report(runs / "a", tmp_path, "--force").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.html"]


def test_a_run_with_nothing_in_it_has_no_report(tmp_path):
    run = make_run(tmp_path / "runs" / "empty", tmp_path / "pool", images=0)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.write("DELETE FROM images")
    done = mpa_report(run, tmp_path / "out.html")
    assert done.exit_code == 1
    assert "nothing to show yet" in done.output
    assert not (tmp_path / "out.html").exists()
    assert "there is no run" in mpa_report(tmp_path / "none").output


def test_images_that_are_gone_are_left_out_and_counted(tmp_path):
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=4)
    (tmp_path / "pool" / "001.png").unlink()
    assert mpa_report(run, tmp_path / "some.html").exit_code == 0
    assert "1 images can't be read any more" in (tmp_path / "some.html").read_text()
    shutil.rmtree(tmp_path / "pool")
    assert mpa_report(run, tmp_path / "none.html").exit_code == 0
    text = (tmp_path / "none.html").read_text()
    assert "4 images can't be read any more" in text
    assert "image/webp" not in text


def test_texts_of_models_stay_texts_and_long_ones_are_cut(tmp_path):
    run = make_run(tmp_path / "runs" / "<b>&", tmp_path / "pool", images=1)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow(f"{HOSTILE}.png", "f" * 64, step=2))
        ledger.add_image(ImageRow(f"{HOSTILE}-2.png", "", HOSTILE, HOSTILE))
        row = AnnotationRow("f" * 64, 0, 0, HOSTILE, HOSTILE, HOSTILE, "", 1, HOSTILE)
        ledger.add_annotation(row)
        long = f"{HOSTILE} {'ab ' * 35_000}"
        ledger.add_answer(AnswerRow("f" * 64, HOSTILE, "student", "v1", long, "c", "identify"))
        ledger.add_record("f" * 64, 0, Cell.GAP, HOSTILE)
    assert mpa_report(run, tmp_path / "out.html").exit_code == 0
    text = (tmp_path / "out.html").read_text()
    elements = Elements(text)
    assert "script" not in elements.found
    assert not any("evil" in address for address in elements.addresses)
    assert "{{ 7*7 }}" in text
    assert len(text) < 60_000


@pytest.mark.slow
def test_a_run_of_2000_photos_is_small_enough_to_mail(tmp_path):
    """They have a grain, which takes more bytes than most: each file's end is another."""
    photos = [photo(1024, 768, seed) for seed in range(20)]
    run = make_run(
        tmp_path / "runs" / "a",
        tmp_path / "pool",
        images=2000,
        encoded=lambda number: photos[number % 20] + number.to_bytes(4, "big"),
    )
    done = mpa_report(run, tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    size = (tmp_path / "a.html").stat().st_size
    assert 3e6 < size < 15e6, done.output


@pytest.mark.slow
def test_chromium_opens_it_from_disk_without_a_request(page, runs, tmp_path):
    """A page that does ask for something shows that a request would be seen."""
    asking = tmp_path / "asking.html"
    asking.write_text('<img src="http://127.0.0.1:9/x">')
    assert requested(asking, tmp_path / "asking") == ["http://127.0.0.1:9/x"]
    assert requested(runs / "a.html", tmp_path / "report") == []
    assert "Refused" not in (tmp_path / "report" / "errors").read_text()
    shown = (tmp_path / "report" / "page").read_text()
    assert shown.count('<li class="record"') == 121


def requested(file, folder):
    """Requests of a page, without those that Chromium makes for itself."""
    folder.mkdir()
    flags = (*FLAGS, "--enable-logging=stderr", "--dump-dom")
    command = [chromium(), *flags, f"--user-data-dir={folder}", f"--log-net-log={folder}/net"]
    with (folder / "page").open("w") as out, (folder / "errors").open("w") as errors:
        subprocess.run([*command, file.as_uri()], check=True, stdout=out, stderr=errors, timeout=60)
    events = json.loads((folder / "net").read_text())["events"]
    asked = [event.get("params", {}) for event in events]
    of_pages = [each for each in asked if each.get("initiator", "not an origin") != "not an origin"]
    return list(dict.fromkeys(each["url"] for each in of_pages if "url" in each))
