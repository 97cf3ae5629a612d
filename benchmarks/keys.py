"""Cost of keys: latency of a single request with a key, less that of a service without keys.

    python -m benchmarks.keys

Both services have the fake engine, so that nothing hides the difference. They take turns, request
by request. The key has limits of every kind, and the file holds 1,000 keys. On a busy machine the
difference is lost in the noise, so another row times the check alone, in this process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import httpx

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.folders import work_folder
from benchmarks.processes import serving, side_by_side
from benchmarks.questions import Asked, ask, decoding
from benchmarks.row import MILLISECONDS, Question, Row
from services.engines.fake import FakeModel
from services.rpc.access.access import Access
from services.rpc.access.credentials import Credentials, KeyedChannel
from services.rpc.access.keys import KeyLimits, new_key, write_keys
from services.rpc.access.settings import AccessSettings

REQUESTS = 400
"""Requests to each service in each run."""
KEYS = 1000
CHECKS = 20_000
MOST_MS = 0.1
PLENTY = 10**12
_LIMITS = KeyLimits(
    requests_per_minute=PLENTY,
    concurrent=PLENTY,
    bytes_per_minute=PLENTY,
    pixels_per_minute=PLENTY,
)


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "bundled":  # the engine is fake, so one model is enough
        return
    folder = work_folder("keys")
    checkpoint = folder / "fake"
    FakeModel(skill=1.0).write(checkpoint)
    keys, token = _keys(folder)
    check = Question(
        name="keys-check",
        what="time of the check of a key",
        other="-",
        model=model,
        engine="fake",
        unit="ms",
        at_most=MOST_MS,
    )
    yield check.counted(await _check_ms(keys, token), CHECKS, keys=KEYS)
    taken: dict[str, list[float]] = {"grpc": [], "http": []}
    settings: dict[str, str | Path] = {"engine": "fake", "model": checkpoint}
    async with (
        side_by_side(
            serving("student", _made(folder / "open"), 1, **settings),
            serving("student", _made(folder / "guarded"), 1, **settings, keys=keys),
        ) as (open_one, guarded),
        clients.connect(open_one.address) as plain,
        clients.connect(guarded.address) as keyed,
        httpx.AsyncClient(timeout=120) as http,
        httpx.AsyncClient(timeout=120, headers=Credentials(token).headers()) as http_with_key,
    ):
        with_key = cast(grpc.aio.Channel, KeyedChannel(keyed, token))
        faces = {
            "grpc": (
                clients.unary(plain, decoding(model)),
                clients.unary(with_key, decoding(model)),
            ),
            "http": (clients.http(http, open_one.url), clients.http(http_with_key, guarded.url)),
        }
        requests = given.share(REQUESTS)
        for number in range(given.runs + 1):
            for at, (face, pair) in enumerate(faces.items()):
                asked = ask((2 * number + at) * requests, requests, 1, model)
                difference_s = await _difference_s(pair, asked)
                if number:
                    taken[face].append(difference_s * MILLISECONDS)
    for face, differences in taken.items():
        question = Question(
            name=f"keys-{face}-p50",
            what=f"cost of keys at the median of a request through {face}",
            other="-",
            model=model,
            engine="fake",
            unit="ms",
            at_most=MOST_MS,
        )
        yield question.counted(
            statistics.median(differences),
            len(differences),
            requests_per_run=requests,
            keys=KEYS,
            least_ms=min(differences),
            most_ms=max(differences),
        )


async def _difference_s(pair: tuple[clients.Ask, clients.Ask], asked: list[Asked]) -> float:
    """Median with a key, less the median without; each question is asked of both in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number, one in enumerate(asked):
        for side in (0, 1) if number % 2 else (1, 0):  # whoever comes second finds warm caches
            seconds[side].extend(await clients.one_by_one(pair[side], [one]))
    return statistics.median(seconds[1]) - statistics.median(seconds[0])


async def _check_ms(keys: Path, token: str) -> float:
    """Median time of the check of one key: admission, limits, and the watch over its validity."""
    access = Access(AccessSettings(keys=keys))
    given = [f"Bearer {token}"]
    seconds = []
    for _ in range(CHECKS):
        began = time.perf_counter()
        caller = access.admit("/v1/vqa", given, (), "127.0.0.1")
        async with access.kept_valid(caller):
            with caller.allowance.request():
                caller.allowance.spend(1, pixels=1)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * MILLISECONDS


def _keys(folder: Path) -> tuple[Path, str]:
    """A file of keys, and the text of one of them."""
    made = [new_key(f"caller {number}", ["ask"]) for number in range(KEYS)]
    path = folder / "keys.json"
    write_keys(path, tuple(replace(key, limits=_LIMITS) for key, _ in made))
    return path, made[KEYS // 2][1]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    arguments.run([measure], __doc__)
