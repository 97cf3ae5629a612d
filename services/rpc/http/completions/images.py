"""The bytes of an image: a data URI, or an https URL of a host that the operator has allowed.

A URL is an order to this machine to call somebody. So only https to listed hosts is called, without
redirects, proxies or content codings; the name is resolved once, its addresses must be public, and
exactly the one that was checked is connected to. The certificate must be the name's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from services.core.errors import InvalidImage, MpaError
from services.engines.images import MAX_BYTES
from services.rpc.http.completions.hosts import PORT, Address, ImageUrlSettings
from services.rpc.http.limits import Quota
from services.rpc.shortening import shortened

HOSTS = "MPA_STUDENT_IMAGE_HOSTS"
AT_ONCE, AT_ONCE_PER_CALLER = 64, 16
_QUOTED = 100


class ImageUrls:
    """Reader of image URLs."""

    def __init__(self, settings: ImageUrlSettings | None = None) -> None:
        self._settings = settings or ImageUrlSettings()
        self._reading = Quota("image URLs being read", AT_ONCE, AT_ONCE_PER_CALLER)
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def received(self, url: str, uploads: Quota, caller: str) -> AsyncIterator[bytes]:
        """The file behind a URL. Fetched bytes count against `uploads` until the context ends.

        Raises InvalidImage, Overloaded.
        """
        if url[:5].lower() == "data:":
            image = read_data_url(url)
            del url  # it is larger than the image
            yield image
            return
        allowed = self._allowed(url)
        taken = 0
        content = bytearray()
        try:
            with self._reading.held(caller):
                async with _failures_named(allowed, self._settings.seconds):
                    async for chunk in self._chunks(allowed):
                        uploads.take(caller, len(chunk))
                        taken += len(chunk)
                        content += chunk
            yield bytes(content)
        finally:
            uploads.give_back(caller, taken)

    def _allowed(self, text: str) -> httpx.URL:
        """The URL, of a host that is allowed. Raises InvalidImage."""
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as error:
            raise _refused(f"{_quoted(text)} is no URL: {error}") from error
        if url.scheme != "https" or url.userinfo:
            raise _refused(f"{_quoted(text)}: send a data URI, or an https URL without a user name")
        if (url.raw_host.decode("ascii").lower(), url.port or PORT) not in self._settings.hosts:
            raise _refused(
                f"images of the host {_quoted(url.netloc.decode('ascii', 'replace'))} are not "
                f"read here: send a data URI, or have the operator add it to {HOSTS}"
            )
        return url

    async def _chunks(self, url: httpx.URL) -> AsyncIterator[bytes]:
        """The image, from the first address that can be reached."""
        *others, last = await self._addresses(url)
        if self._tls is None:
            self._tls = await asyncio.to_thread(_tls, self._settings.ca)
        for address in others:
            with suppress(httpx.ConnectError):
                async for chunk in self._chunks_from(url, address, self._tls):
                    yield chunk
                return
        async for chunk in self._chunks_from(url, last, self._tls):
            yield chunk

    async def _chunks_from(
        self, url: httpx.URL, address: Address, tls: ssl.SSLContext
    ) -> AsyncIterator[bytes]:
        async with (
            httpx.AsyncClient(verify=tls, trust_env=False, timeout=None) as client,
            client.stream(
                "GET",
                url.copy_with(host=str(address)),
                headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            ) as response,
        ):
            if response.status_code != 200:
                raise _refused(f"{url.host} answers {response.status_code}, not 200")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _refused(f"{url.host} sends a coded image: it must send the file itself")
            size = 0
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > MAX_BYTES:
                    raise InvalidImage(
                        f"the image of {url.host} has more than {MAX_BYTES:,} bytes",
                        reason="IMAGE_TOO_LARGE",
                    )
                yield chunk

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        """The addresses of a URL's host. Raises InvalidImage: one is not public."""
        found = await asyncio.get_running_loop().getaddrinfo(
            url.raw_host.decode("ascii"), url.port or PORT, type=socket.SOCK_STREAM
        )
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        if not addresses or not all(self._settings.may_call(address) for address in addresses):
            raise _refused(f"{url.host} has an address that is not public")
        return addresses


def read_data_url(url: str) -> bytes:
    """The bytes of a data URI in base64. Raises InvalidImage. Its media type is not trusted."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidImage(f"{_quoted(url)} is no data URI in base64: data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"the data URI is not base64: {error}") from error


@asynccontextmanager
async def _failures_named(url: httpx.URL, seconds: float) -> AsyncIterator[None]:
    """Every failure of a fetch as InvalidImage with the host's name."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except MpaError:
        raise
    except TimeoutError as error:
        raise _refused(f"the image of {url.host} did not come within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        said = shortened(str(error) or type(error).__name__, _QUOTED)
        raise _refused(f"the image of {url.host} can't be read: {said}") from error


def _tls(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cafile=ca)
    return context


def _refused(message: str) -> InvalidImage:
    return InvalidImage(message, reason="INVALID_IMAGE_URL")


def _quoted(text: str) -> str:
    return repr(shortened(text, _QUOTED))
