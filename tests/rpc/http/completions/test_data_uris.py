"""Images in data URIs."""

import base64
import sys

import pytest

from services.core.errors import InvalidImage
from services.rpc.http.completions.images import ImageUrls, read_data_url
from services.rpc.http.limits import Quota
from tests.rpc.http.completions.test_images import IMAGE, fetched


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,{}", "DATA:;BASE64,{}", "data:text/html;charset=x;base64,{}"]
)
async def test_data_uris(url):
    encoded = "aGk="
    assert await fetched(ImageUrls(), url.format(encoded)) == b"hi"


@pytest.mark.parametrize(
    "url", ["data:", "data:,hi", "data:;base64", "data:;base64,a", "data:;base64,\u00e9"]
)
def test_data_uris_that_are_none(url):
    with pytest.raises(InvalidImage):
        read_data_url(url)


async def test_a_data_url_is_not_kept_next_to_its_image():
    url = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
    alone = sys.getrefcount(url)
    async with ImageUrls().received(url, Quota("bytes", 1, 1), "caller") as image:
        assert image == IMAGE
        assert sys.getrefcount(url) == alone
