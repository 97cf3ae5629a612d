"""A run as one HTML file that can be mailed: the explorer's views, without the explorer.

The same templates are filled in. Links lead to places of the file, images are in it, and it may
load nothing: its policy allows its own style sheet and images alone.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from services.core.errors import MpaError, WrongState
from services.core.parity import Cell
from services.files import write_atomically
from services.orchestrator.images.source import Source
from services.orchestrator.run.ledger import browsing
from services.orchestrator.run.ledger.browsing import Place
from services.orchestrator.run.ledger.facets import (
    KNOWN,
    RANKINGS,
    UNIDENTIFIED,
    EntryChoice,
    Facet,
    Order,
    Result,
)
from services.orchestrator.run.ledger.shelves import REFUSED_IMAGES
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import read_run, require_run
from services.orchestrator.ui.choosing import Wish
from services.orchestrator.ui.library import PATIENCE_S, OpenedRun
from services.orchestrator.ui.overview import Overview, read_overview
from services.orchestrator.ui.record_detail import RecordDetail, read_record, read_refused_image
from services.orchestrator.ui.rendering import Links, render
from services.orchestrator.ui.thumbnails import DECODED_AT_ONCE, shrink
from services.orchestrator.ui.upkeep import open_catalogue, renew_now

SIDE, ENCODING = 192, "WEBP"
"""Longest side of an image in pixels, and its format."""
MOST_CHARS = 2_000
"""Characters of an answer: a model may repeat itself for 100 KB."""
MOST_REASONS = 5
"""Reasons of rejection that have records in the file, the most frequent first."""
CELLS = (
    Cell.GAP,
    Cell.NOISE_BOTH_WRONG,
    Cell.NOISE_STUDENT_RIGHT,
    Cell.KNOWN,
    Cell.UNASKED,
    UNIDENTIFIED,
)
"""The gap first."""
SUSPECTS = ((Order.LOSS, Facet.LOSS, KNOWN), (Order.SURE, Facet.CELL, str(Cell.GAP)))
"""Records whose labels may be wrong: orders of some records."""
RESULTS = (Result.FIXED, Result.BROKEN)
STATIC = Path(__file__).with_name("static")


@dataclass(frozen=True, slots=True)
class RecordGroup:
    """Some of the `found` records that have a value of a facet. `id`: its place in the file.

    `records` are shown here, `above` in an earlier group. `order`: the first ones by a figure,
    rather than drawn at random.
    """

    id: str
    facet: Facet
    value: str
    found: int
    records: tuple[RecordDetail, ...]
    above: tuple[RecordDetail, ...]
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """The file. `most`: most records of a group."""

    overview: Overview
    groups: tuple[RecordGroup, ...]
    most: int

    @property
    def records(self) -> list[RecordDetail]:
        return [record for group in self.groups for record in group.records]

    def anchor(self, record: RecordDetail) -> str:
        """Id of the place of a record."""
        row, image = record.entry.annotation, record.entry.image
        return _anchor(row.image_sha256, row.number, row.attempt) if row else _anchor(image.path)


def write_report(
    folder: Path, target: Path, progress: Progress, *, most: int, replaces: bool
) -> None:
    """Writes the report of the run in `folder`. `replaces`: a file that is there before.

    `target` is whole or absent. Raises MpaError if there is a file, WrongState if the run has
    nothing to show yet, and all that `read_run` raises.
    """
    if target.exists() and not (replaces and target.is_file()):
        another = "--force replaces it" if target.is_file() else "it is no file"
        raise MpaError(
            f"{target} already exists: name another file, as `mpa-orch report {folder} NAME.html` "
            f"({another})",
            reason="EXISTS",
        )
    require_run(folder)
    with progress.stage("count", "parts of the run", None) as meter:

        def tell(done: int, total: int) -> None:
            meter.total = total
            meter.set_done(done)

        renewed = renew_now(folder, tell)
    with read_run(folder) as run, closing(open_catalogue(run)) as catalogue:
        patient = replace(run, patience_s=PATIENCE_S)
        opened = OpenedRun(folder.resolve().name, patient, catalogue, renewed)
        report = read_report(opened, most)
        if not report.records:
            raise WrongState(
                f"the run in {folder} has nothing to show yet: neither an annotation nor a refused "
                "image; `mpa-orch status` shows how far it is"
            )
        write_atomically(target, _file(opened, report, progress))


def read_report(opened: OpenedRun, most: int) -> RunReport:
    """The content, with `most` records of each cell, of each reason, and of what was fixed."""
    overview = read_overview(opened)
    results = browsing.count(opened.catalogue).facets[Facet.RESULT]
    chosen: list[tuple[Facet, str, int]] = [
        *((Facet.CELL, cell, overview.cells.get(cell, 0)) for cell in CELLS),
        *((Facet.RESULT, result, results[result]) for result in RESULTS),
        *_first(Facet.REJECTED, overview.rejected),
        *_first(Facet.REFUSED, overview.refused),
    ]
    drawn: list[tuple[Facet, str, int, Order | None, list[Place]]] = [
        (*one, None, browsing.sample(opened.catalogue, one[0], one[1], most)) for one in chosen
    ]
    drawn += (_suspects(opened, order, facet, value, most) for order, facet, value in SUSPECTS)
    groups: list[RecordGroup] = []
    seen: set[str] = set()
    for facet, value, found, order, places in drawn:
        if places:
            here = tuple(_record(opened, place) for place in places if _name(place) not in seen)
            above = tuple(_record(opened, place) for place in places if _name(place) in seen)
            name = f"{facet}-{len(groups)}"
            groups.append(RecordGroup(name, facet, value, found, here, above, order))
            seen.update(map(_name, places))
    return RunReport(overview, tuple(groups), most)


def _suspects(
    opened: OpenedRun, order: Order, facet: Facet, value: str, most: int
) -> tuple[Facet, str, int, Order, list[Place]]:
    choice = EntryChoice({facet: (value,), RANKINGS[order].facet: (KNOWN,)})
    found = browsing.count(opened.catalogue, choice).entries
    return facet, value, found, order, browsing.page(opened.catalogue, choice, order, "", most)


def _name(place: Place) -> str:
    return _anchor(place.image, place.number, place.attempt)


def _first(facet: Facet, reasons: Mapping[str, int]) -> Iterator[tuple[Facet, str, int]]:
    for reason, count in islice(reasons.items(), MOST_REASONS):
        yield facet, reason, count


def _record(opened: OpenedRun, place: Place) -> RecordDetail:
    if place.is_refused_image:
        return read_refused_image(opened, place.image)
    return read_record(opened, f"{place.image}-{place.number}-{place.attempt}", Wish())


def _file(opened: OpenedRun, report: RunReport, progress: Progress) -> bytes:
    images = _images(opened, report, progress)
    style = STATIC.joinpath("explorer.css").read_text()
    content = {
        "view": report.overview,
        "report": report,
        "style": style,
        "style_hash": b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "missing": sum(not data for data in images.values()),
    }
    return render("report.html", content, _links(report, images))


def _images(opened: OpenedRun, report: RunReport, progress: Progress) -> dict[str, str]:
    """Address of each image that is shown, by its sha256; "" if it can't be read any more."""
    shown = {record.entry.image.sha256: record.entry.image.path for record in report.records}
    shown.pop("", None)
    source = _source(opened)
    if source is None:
        return dict.fromkeys(shown, "")

    def encode(image: tuple[str, str]) -> str:
        sha256, path = image
        try:
            data = shrink(source, path, sha256, SIDE, ENCODING)
        except MpaError:
            return ""
        return f"data:image/{ENCODING.lower()};base64,{b64encode(data).decode()}"

    found: dict[str, str] = {}
    with (
        progress.stage("report", "images", len(shown)) as meter,
        ThreadPoolExecutor(DECODED_AT_ONCE) as threads,
    ):
        for sha256, address in zip(shown, threads.map(encode, shown.items()), strict=True):
            found[sha256] = address
            meter.advance()
    return found


def _source(opened: OpenedRun) -> Source | None:
    """The run's images; None if they are away."""
    try:
        return opened.run.find_images()
    except MpaError:
        return None


def _links(report: RunReport, images: Mapping[str, str]) -> Links:
    """Addresses within the file."""
    groups = {
        (str(group.facet), group.value): f"#{group.id}"
        for group in report.groups
        if group.order is None
    }
    svg = b64encode(STATIC.joinpath("no-image.svg").read_bytes()).decode()
    no_image = f"data:image/svg+xml;base64,{svg}"

    def records(_: str, **facets: str) -> str:
        (first, *others) = facets.items()
        return "" if others else groups.get(first, "")

    return Links(
        run=lambda _, page: f"#{page}" if page == "records" else "",
        records=records,
        record=lambda _run, image, number, attempt, _wish: f"#{_anchor(image, number, attempt)}",
        image=lambda _run, image, _size: images.get(image) or no_image,
        compare=lambda _left, _right, _left_round, _right_round: "",
        whole=lambda text: text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} …",
    )


def _anchor(image: str, number: int = REFUSED_IMAGES, attempt: int = REFUSED_IMAGES) -> str:
    """Id of the place of a record; of a refused image, by its path."""
    return f"r{hashlib.sha256(image.encode()).hexdigest()[:16]}.{number}.{attempt}"
