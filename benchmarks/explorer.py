"""The explorer over a run of 1,000,000 records: every view, facet and search over real HTTP.

    python -m benchmarks.explorer

The ledger has 1,000,000 annotations of as many images. `mpa-orch ui` serves it in a process of its
own, which makes its catalogue first (`catalogue_s`, also of the second start: `again_s`). Then each
view is asked for in turn, with other words, facets and pages each time. The figure is the 95th
percentile of the slowest view; the row of the memory is the most that the process had while it
answered. Two reviewers have judged every 20th record. `beside_comparison` is the 95th percentile of
all views while the run is compared with itself.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.explored_run import OPENINGS, PLACES, THINGS, ledger_of
from benchmarks.row import MILLISECONDS, Question, Row, percentile
from services.core.parity import Cell
from services.core.questions import question_kind

RECORDS = 1_000_000

ASKED = 20
"""Times that each view is asked for, times `--runs`."""
SLOWEST = Question(
    name="explorer-views",
    what="explorer, 95th percentile of its slowest view",
    other="-",
    model="scripted",
    engine="-",
    unit="ms",
    at_most=200.0,
)
MEMORY = Question(
    name="explorer-memory",
    what="explorer, most memory while it answers",
    other="-",
    model="scripted",
    engine="-",
    unit="MiB",
    at_most=200.0,
)


@dataclass(frozen=True, slots=True)
class Served:
    """The explorer in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def memory_mib(self) -> float:
        """Most resident memory of the process so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "ui", str(folder)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Served(process, process.stdout.readline().split("/runs")[0])
        finally:
            process.send_signal(signal.SIGINT)


def until_catalogued(client: httpx.Client) -> float:
    """Seconds until every record is counted."""
    began = time.perf_counter()
    while not client.get("/runs/run/overview.json").json()["renewed"]["is_complete"]:
        time.sleep(0.5)
    return time.perf_counter() - began


def addresses(client: httpx.Client, drawn: random.Random, count: int) -> dict[str, str]:
    """An address of each view, another one each time."""
    records = "/runs/run/records"
    kind = question_kind(f"{drawn.choice(OPENINGS)} the").replace(" ", "+")
    cell, other = drawn.sample(tuple(Cell), 2)
    number = drawn.randrange(count)
    page = client.get(f"{records}.json?cell={cell}&after={number}").json()["records"][0]
    key = f"{page['image_sha256']}-0-0"
    word, place = drawn.choice(THINGS), drawn.choice(PLACES)
    return {
        "list of runs": "/runs",
        "overview": "/runs/run/overview",
        "all records": records,
        "page": f"{records}?after={number}",
        "cell": f"{records}?cell={cell}",
        "cells": f"{records}?cell={cell}&cell={other}&after={number}",
        "cell and kind": f"{records}?cell={cell}&kind={kind}",
        "rejected": f"{records}?rejected=duplicate&after={number}",
        "fixed": f"{records}?result=fixed&kind={kind}",
        "newest": f"{records}?cell={cell}&order=newest",
        "least agreement": f"{records}?cell={cell}&order=agreement",
        "highest loss": f"{records}?order=loss",
        "highest loss, kind": f"{records}?kind={kind}&order=loss",
        "highest loss, page": f"{records}?order=loss&after={drawn.expovariate(2.0)!r}_{number}",
        "sure and wrong": f"{records}?cell=gap&order=sure",
        "least sure, page": f"{records}?order=unsure&after={-drawn.expovariate(1.0)!r}_{number}",
        "least sure, right": f"{records}?cell=known&result=broken&order=unsure",
        "least sure, word": f"{records}?q={word}&order=unsure",
        "record by certainty": f"{records}/{key}?order=unsure",
        "frequent word": f"{records}?q={word}",
        "frequent words, cell": f"{records}?q=the+{word}+{place}&cell={cell}&after={number}",
        "phrase": f"{records}?q=%22the+{word}%22&kind={kind}",
        "rare word": f"{records}?q={number}",
        "no such word": f"{records}?q=zebra{number}&cell={cell}",
        "record": f"{records}/{key}?cell={cell}",
        "reviews": "/runs/run/reviews",
        "records as JSON": f"{records}.json?cell={cell}&held_out=yes",
    }


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        for row in await asyncio.to_thread(measure_views, given):
            yield row


def measure_views(given: Arguments) -> list[Row]:
    count = given.share(RECORDS)
    folder = ledger_of(count)
    for made in folder.glob("explorer.sqlite*"):
        made.unlink()
    with served(folder.parent) as explorer, httpx.Client(base_url=explorer.address) as client:
        catalogue_s = until_catalogued(client)
    with (
        served(folder.parent) as explorer,
        httpx.Client(base_url=explorer.address, timeout=60) as client,
    ):
        again_s = until_catalogued(client)
        taken = ask(client, count, ASKED * given.runs)
        beside = ask_beside_comparison(client, count)
        memory_mib = explorer.memory_mib()
    rates = {view: percentile(seconds, 95) for view, seconds in taken.items()}
    for view, seconds in taken.items():
        print(f"{view:<22} p50 {percentile(seconds, 50):7.1f} ms   p95 {rates[view]:7.1f} ms")
    ledger, catalogue = (
        (folder / name).stat().st_size // 2**20 for name in ("ledger.sqlite", "explorer.sqlite")
    )
    about = {"records": count, "ledger_mib": ledger, "catalogue_mib": catalogue}
    figures = {view: round(rate, 1) for view, rate in rates.items()}
    slowest = SLOWEST.counted(
        max(rates.values()),
        ASKED * given.runs,
        **about,
        catalogue_s=round(catalogue_s, 1),
        again_s=round(again_s, 1),
        beside_comparison=round(percentile(beside, 95), 1),
        **figures,
    )
    return [slowest, MEMORY.counted(memory_mib, 1, **about)]


def ask(client: httpx.Client, count: int, times: int) -> dict[str, list[float]]:
    """Milliseconds of each view, `times` times each, after once that isn't measured."""
    drawn = random.Random(0)
    taken: dict[str, list[float]] = {}
    for turn in range(times + 1):
        for view, address in addresses(client, drawn, count).items():
            began = time.perf_counter()
            client.get(address).raise_for_status()
            if turn:
                taken.setdefault(view, []).append(MILLISECONDS * (time.perf_counter() - began))
    return taken


def ask_beside_comparison(client: httpx.Client, count: int) -> list[float]:
    """Milliseconds of all views while a comparison is made."""
    taken: list[float] = []
    with ThreadPoolExecutor() as pool:
        compared = pool.submit(client.get, "/compare?left=run&right=run", timeout=None)
        while not compared.done():
            taken += [ms for view in ask(client, count, 1).values() for ms in view]
        compared.result().raise_for_status()
    print(f"{'beside a comparison':<22} p50 {percentile(taken, 50):7.1f} ms   "
          f"p95 {percentile(taken, 95):7.1f} ms")  # fmt: skip
    return taken


if __name__ == "__main__":
    arguments.run([measure], __doc__)
