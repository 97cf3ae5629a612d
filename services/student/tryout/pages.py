"""HTML of the page. Texts of models and of callers are escaped by the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from services.rpc.limits import MAX_QUESTION_CHARS
from services.student.tryout.desk import Opinion, Question
from services.student.tryout.shown import ShownAnswer

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer", browsers would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response. An image that is shown is the person's own file (blob:)."""
TITLES = {"live": "Live version", "candidate": "Candidate", "teacher": "Teacher"}


def empty_page() -> HTMLResponse:
    """The page before a question. It is the same for everybody."""
    return _page({})


def answers_page(asked: Question, opinions: Sequence[Opinion]) -> HTMLResponse:
    return _page({"question": asked.text, "opinions": opinions})


def judged_page(shown: ShownAnswer, verdict: str) -> HTMLResponse:
    return _page({"question": shown.question, "judged": shown, "verdict": verdict})


def trouble_page(sentence: str, status: int, headers: Mapping[str, str]) -> HTMLResponse:
    return _page({"trouble": sentence}, status, headers)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("services.student.tryout"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"TITLES": TITLES, "MOST_CHARS": MAX_QUESTION_CHARS}
    return found


def _page(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    usual = {"question": "", "opinions": (), "judged": None, "verdict": "", "trouble": ""}
    text = _environment().get_template("tryout.html").render(usual | dict(content))
    return HTMLResponse(text.encode("utf-8", "replace"), status, {**HEADERS, **(headers or {})})
