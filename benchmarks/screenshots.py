"""Pictures of every page for the documentation, from real runs: three widths, light and dark.

    python -m benchmarks.screenshots RUN OTHER_RUN IMAGE [PAGE ...]

Both runs are in one folder, and the images of their pool where they were. IMAGE is asked about on
the page of a student, which is the bundled one. Needs Chromium and the extra `test`. The pictures
are WebP in docs/screenshots, those of the widest window at half their size. Names of pages, such as
"verdict" or "try", leave the others as they are.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.explorer import served
from benchmarks.folders import ROOT
from services.orchestrator.endpoints.processes import bento_command, free_ports, service_environment
from services.orchestrator.run.journal import Journal, StageProgress
from services.orchestrator.run.run import locked

TARGET = ROOT / "docs" / "screenshots"
SIZES = {360: 720, 1024: 768, 2560: 1440}
"""Widths and heights of the window."""
HALVED = 2560
MODES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
QUALITY = 60
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
QUESTION = "what color is the shape?"
START_S = 300.0

Act = Callable[[Page], None]


@dataclass(frozen=True, slots=True)
class Camera:
    """Takes pictures of the `pages` named, or of all if none is."""

    browser: Browser
    pages: Sequence[str]

    def is_for(self, name: str) -> bool:
        return not self.pages or name in self.pages

    def take(self, name: str, url: str, act: Act | None = None, reviewer: str = "") -> None:
        """A picture of the window in each width and mode, once `act` has been done on the page."""
        if not self.is_for(name):
            return
        context = self.browser.new_context(viewport={"width": 1024, "height": 768})
        context.set_default_timeout(START_S * 1000)
        if reviewer:
            context.add_cookies([{"name": "reviewer", "value": reviewer, "url": url}])
        page = context.new_page()
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(url)
            if act is not None:
                act(page)
            for mode in MODES:
                page.emulate_media(color_scheme=mode)
                _keep(page.screenshot(), TARGET / f"{name}-{width}-{mode}.webp", width == HALVED)
        context.close()


def main(run: Path, other: Path, image: Path, pages: Sequence[str]) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = Path(folder) / "runs"
        for each in (run, other):
            shutil.copytree(each, runs / each.name, ignore=shutil.ignore_patterns("explorer.*"))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(FLAGS)
        )
        camera = Camera(browser, pages)
        with chdir(folder), served(Path("runs")) as explorer:  # the page names the folder
            _take_explorer(camera, explorer.address, runs / run.name, other.name)
        if camera.is_for("report"):
            _take_report(camera, runs / run.name, Path(folder) / "report.html")
        if camera.is_for("audit"):
            _take_audit(camera, runs / run.name, Path(folder) / "audit")
        if camera.is_for("try"):
            with _student(Path(folder)) as url:
                camera.take("try", f"{url}/try", lambda page: _ask(page, image))
        browser.close()


def _take_explorer(camera: Camera, site: str, run: Path, other: str) -> None:
    here = f"{site}/runs/{quote(run.name)}"
    _wait_until_counted(here)
    gap = httpx.get(f"{here}/records.json?cell=gap", timeout=60).json()["records"]
    keys = [f"{each['image_sha256']}-{each['number']}-{each['attempt']}" for each in gap]
    for reviewer, verdicts in (("Ann", "accept accept reject"), ("Bob", "accept reject reject")):
        for key, verdict in zip(keys, verdicts.split(), strict=False):
            _review(site, f"{here}/records/{key}/review", reviewer, verdict)
    _wait_until_counted(here)
    views = {
        "runs": f"{site}/runs",
        "overview": f"{here}/overview",
        "kinds": f"{here}/overview#kinds",
        "records": f"{here}/records?cell=gap",
        "reviews": f"{here}/reviews",
        "verdict": f"{here}/verdict",
        "compare": f"{site}/compare?left={quote(run.name)}&right={quote(other)}",
        "error": f"{site}/runs/none",
    }
    for name, url in views.items():
        camera.take(name, url)
    camera.take("record", f"{here}/records/{keys[0]}?cell=gap", reviewer="Ann")
    camera.take("review", f"{here}/records?cell=gap", reviewer="Ann")
    with locked(run):
        journal = Journal(run)
        for stage in (
            StageProgress("identify", "images", 150, 150, 19.2, 0.0, "gap 121"),
            StageProgress("level", "steps", 16, 26, 0.8, 12.0, "training loss 1.112"),
        ):
            journal.note(stage)
        camera.take("live", f"{here}/live")


def _review(site: str, url: str, reviewer: str, verdict: str) -> None:
    headers = {"Origin": site, "Cookie": f"reviewer={reviewer}"}
    httpx.post(url, data={"verdict": verdict}, headers=headers, timeout=60)


def _take_report(camera: Camera, run: Path, file: Path) -> None:
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "report", str(run)]
    subprocess.run([*command, str(file)], check=True, stdout=subprocess.DEVNULL)
    camera.take("report", f"{file.as_uri()}#cell-0")


def _take_audit(camera: Camera, run: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "audit", "draw", str(run)]
    subprocess.run([*command, "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    camera.take("audit", (folder / "page.html").as_uri())


def _keep(picture: bytes, path: Path, is_halved: bool) -> None:
    with Image.open(io.BytesIO(picture)) as opened:
        shown = opened.convert("RGB")
    if is_halved:
        shown = shown.resize((shown.width // 2, shown.height // 2), Image.Resampling.LANCZOS)
    shown.save(path, "WEBP", quality=QUALITY, method=6)


def _ask(page: Page, image: Path) -> None:
    page.get_by_label("Image", exact=True).set_input_files(image)
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#columns article dl:visible").first.wait_for()


def _wait_until_counted(here: str) -> None:
    end = time.monotonic() + START_S
    while not httpx.get(f"{here}/overview.json", timeout=60).json()["renewed"]["is_complete"]:
        if time.monotonic() > end:
            raise TimeoutError(f"{here} is still being counted")
        time.sleep(0.5)


@contextmanager
def _student(folder: Path) -> Iterator[str]:
    """The bundled student with its page; the address."""
    http, grpc = free_ports(2)
    given: Mapping[str, str] = {
        "MPA_STUDENT_STORE": str(folder / "store"),
        "MPA_STUDENT_SAMPLES": str(folder / "samples"),
        "MPA_STUDENT_TRY_PAGE": "1",
    }
    environment = {**os.environ, **service_environment("student", grpc, folder / "bento"), **given}
    process = subprocess.Popen(bento_command("student", http), env=environment)
    url = f"http://127.0.0.1:{http}"
    try:
        _wait_until_up(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/readyz", timeout=10).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"the student at {url} did not start")


if __name__ == "__main__":
    given = [Path(argument).absolute() for argument in sys.argv[1:4]]
    main(given[0], given[1], given[2], sys.argv[4:])
