"""Content into pages: the templates, and the words that they use for facets and their values."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from services.core.answers import MATCHERS
from services.core.parity import Cell
from services.orchestrator.reports.listing import in_points
from services.orchestrator.reports.runs import SAID
from services.orchestrator.run.ledger.browsing import COUNTED, SEARCHED
from services.orchestrator.run.ledger.facets import (
    NOT_REVIEWED,
    RANKINGS,
    UNIDENTIFIED,
    Facet,
    Order,
    Result,
)
from services.orchestrator.ui.choosing import (
    Wish,
    compare_link,
    image_link,
    record_link,
    records_link,
    run_link,
)
from services.orchestrator.ui.live_run import SHOWN
from services.orchestrator.ui.plots import (
    draw_changes,
    draw_gains,
    draw_losses,
    draw_reliability,
)
from services.orchestrator.ui.record_list import RecordList
from services.orchestrator.ui.review_desk import MOST_AT_ONCE
from services.orchestrator.ui.verdict import PRICES

FACETS = {
    Facet.CELL: "Cell",
    Facet.KIND: "Kind of question",
    Facet.REJECTED: "Annotation rejected",
    Facet.REFUSED: "Image refused",
    Facet.HELD_OUT: "Held out",
    Facet.ORIGIN: "Question by",
    Facet.MATCHER: "Matcher",
    Facet.RESULT: "Evaluation",
    Facet.JUDGED: "Kind in the evaluation",
    Facet.SAMPLES: "Samples that agree",
    Facet.REVIEWED: "Reviewed by people",
    Facet.LOSS: "Loss in the training",
    Facet.LOGPROB: "Log-probability",
}
VALUES: Mapping[Facet, Mapping[str, str]] = {
    Facet.CELL: {
        **{str(cell): said for cell, said in SAID.items()},
        UNIDENTIFIED: "not identified yet",
    },
    Facet.ORIGIN: {"pool": "the teacher", "production": "a user"},
    Facet.REVIEWED: {NOT_REVIEWED: "not yet", "skipped": "skipped by all"},
    Facet.RESULT: {
        Result.FIXED: "fixed: wrong before, right after",
        Result.BROKEN: "broken: right before, wrong after",
        Result.STILL_RIGHT: "right before and after",
        Result.STILL_WRONG: "wrong before and after",
    },
}
ORDERS = {
    Order.READ: "as the images came",
    Order.NEWEST: "newest first",
    Order.AGREEMENT: "least agreement of samples first",
    Order.LOSS: "highest loss in the training first",
    Order.UNSURE: "student least sure first",
    Order.SURE: "student most sure first",
}
NOT_KEPT = {"Cache-Control": "no-store"}
"""Header of pages: they show what may be private, and change."""
SHOWN_CHARS = 200
"""Characters of a text in a list; the record's page has all of them."""
SHOWN_VALUES = 12
"""Values of a facet on a page."""


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses that pages lead to, as choosing.py has them; "" where nothing can be reached.

    `whole`: a text as it is shown where there is room for all of it.
    """

    run: Callable[[str, str], str] = run_link
    records: Callable[..., str] = records_link
    record: Callable[..., str] = record_link
    image: Callable[[str, str, str], str] = image_link
    compare: Callable[[str, str, int, int], str] = compare_link
    whole: Callable[[str], str] = str


SERVED = Links()


def said(facet: str, value: str) -> str:
    """A value of a facet in words."""
    words = value.replace("_", " ")
    return VALUES.get(Facet(facet), {}).get(value, words.lower() if words.isupper() else words)


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS].rstrip()} …"


def is_shown(facet: Facet, view: RecordList) -> bool:
    """Whether choosing by the facet would leave anything out, or something is chosen there."""
    counts = view.facets[facet]
    is_same_for_all = list(counts.values()) == [view.found]
    return facet in view.wish.choice.values or bool(counts and not is_same_for_all)


def shown_values(counts: Mapping[str, int], chosen: Sequence[str]) -> list[tuple[str, int]]:
    """The most frequent values of a facet with their numbers, and every chosen one."""
    most = sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))[:SHOWN_VALUES]
    known = dict(most) | {value: counts.get(value, 0) for value in chosen}
    return list(known.items())


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def dollars(amount: float) -> str:
    if not amount:
        return "$0"
    return f"${amount:,.{2 if amount >= 1 else 4}f}"


def in_logarithms(logprob: float | None) -> str:
    """A log-probability, with its probability."""
    if logprob is None:
        return "–"
    return f"{logprob:.3f} ({math.exp(min(0.0, logprob)):.1%})"


def day(seconds: float) -> str:
    """Date and time of day here, of seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def clock(seconds: float) -> str:
    """Time of day here, of seconds since 1970."""
    return time.strftime("%H:%M", time.localtime(seconds))


@cache
def _environment(links: Links = SERVED) -> Environment:
    found = Environment(
        loader=PackageLoader("services.orchestrator.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"shortened": shortened, "percent": percent, "dollars": dollars}
    found.filters |= {"logprob": in_logarithms}
    found.filters |= {"clock": clock, "day": day, "count": lambda number: f"{number:,}"}
    found.filters |= {"points": in_points, "whole": links.whole}
    found.globals |= {
        "COUNTED": COUNTED,
        "NO_WISH": Wish(),
        "Cell": Cell,
        "FACETS": FACETS,
        "ORDERS": ORDERS,
        "RANKINGS": RANKINGS,
        "SEARCHED": SEARCHED,
        "PRICES": PRICES,
        "SHOWN": SHOWN,
        "SHOWN_VALUES": SHOWN_VALUES,
        "draw_changes": draw_changes,
        "draw_gains": draw_gains,
        "draw_losses": draw_losses,
        "draw_reliability": draw_reliability,
        "is_shown": is_shown,
        "matchers": tuple(MATCHERS),
        "said": said,
        "shown_values": shown_values,
        "MOST_AT_ONCE": MOST_AT_ONCE,
        "compare_link": links.compare,
        "image_link": links.image,
        "record_link": links.record,
        "records_link": links.records,
        "run_link": links.run,
    }
    return found


def page(template: str, content: Mapping[str, object], status: int = 200) -> HTMLResponse:
    return HTMLResponse(render(template, content), status, NOT_KEPT)


def render(template: str, content: Mapping[str, object], links: Links = SERVED) -> bytes:
    """The page in UTF-8."""
    text = _environment(links).get_template(template).render(content)
    return text.encode("utf-8", "replace")


def is_json(request: Request) -> bool:
    return str(request.scope["path"]).endswith(".json")


def own_link(request: Request) -> str:
    """Address of the view itself."""
    query = request.scope["query_string"].decode("latin-1")
    return f"{quote(request.scope['path'])}{'?' if query else ''}{query}"


def document_link(request: Request) -> str:
    """Address of the same view as JSON."""
    query = request.scope["query_string"].decode("latin-1")
    return f"{quote(request.scope['path'])}.json{'?' if query else ''}{query}"
