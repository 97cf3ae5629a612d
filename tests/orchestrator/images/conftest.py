"""Places of images: a folder, fsspec's memory, and a bucket of moto's server for the S3 client."""

import io
import json
import tarfile
import uuid
import zipfile

import boto3
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from tests.pictures import numbered_png

COUNT = 12
PICTURES = {f"{number:03}.png": numbered_png(number) for number in range(COUNT)}


@pytest.fixture(scope="session")
def bucket_server():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bucket(bucket_server, monkeypatch) -> str:
    """The URL of an empty bucket."""
    host, port = bucket_server.get_host_and_port()
    name = uuid.uuid4().hex
    point_at(monkeypatch, f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


def point_at(monkeypatch, endpoint):
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    settings = {
        "ENDPOINT_URL": endpoint,
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
        "DEFAULT_REGION": "us-east-1",
    }
    for key, value in settings.items():
        monkeypatch.setenv(f"AWS_{key}", value)


@pytest.fixture(params=["file", "memory", "s3"])
def place(request, tmp_path) -> str:
    """The place of a test's files: a URL or a path."""
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path)


def put(place: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        with fsspec.open(f"{place}/{name}", "wb", auto_mkdir=True) as file:
            file.write(data)


def tar_of(files: dict[str, bytes], mode="w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def parquet_of(columns: dict, group=4, types=None) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=types), buffer, row_group_size=group)
    return buffer.getvalue()


def arrow_of(columns: dict, new=pa.ipc.new_stream, group=4) -> bytes:
    buffer = io.BytesIO()
    table = pa.table(columns)
    with new(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=group)
    return buffer.getvalue()


def lines_of(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
