"""Forms that pages send, the reviewer's name in a cookie, and ways back."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse

from services.core.errors import InvalidInput

MOST_BYTES = 64 * 1024
COOKIE = "reviewer"
YEAR_S = 365 * 24 * 3600
SEE_OTHER = 303


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises InvalidInput for a body that is none, or too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise InvalidInput(f"the form has more than {MOST_BYTES:,} bytes: write less")
    return parse_form(body)


def parse_form(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises InvalidInput."""
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise InvalidInput("this is no form: send it from the explorer's own page") from error
    return {name: values[0] for name, values in fields.items()}


def reviewer_of(request: Request) -> str:
    """The name that the reviewer has given; "" before that."""
    return unquote(request.cookies.get(COOKIE, ""), errors="replace")


def see(address: str) -> RedirectResponse:
    """Sends the browser to a page of the explorer, after a form."""
    return RedirectResponse(address, SEE_OTHER)


def remember(response: RedirectResponse, reviewer: str) -> RedirectResponse:
    """Keeps the reviewer's name in the browser."""
    response.set_cookie(
        COOKIE, quote(reviewer, safe=""), max_age=YEAR_S, httponly=True, samesite="lax"
    )
    return response


def own_address(back: str) -> str:
    """`back`, if it is a page of runs; else the list of runs: a form never leads elsewhere."""
    is_own = back.startswith("/runs") and back.isprintable() and back.isascii()
    return back if is_own and "\\" not in back else "/runs"
