"""Files of strangers: data sets, images in containers, checkpoints, stores, ledgers."""

import json
import struct
import tarfile
import tempfile
import zipfile
from contextlib import closing, suppress
from dataclasses import asdict
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.core.contract import Contract
from services.core.errors import InvalidImage
from services.engines.weights import parameters
from services.orchestrator.datasets.checks import check
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.exports.reviewed_tasks import read_corrections
from services.orchestrator.images.opening import open_images
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.rows import ImageRow
from services.rpc.access.keys import new_key, read_keys, write_keys
from services.student.manifest import MANIFEST, Manifest, Origin
from tests.attacks.bystander import IMAGE, SHA256
from tests.orchestrator.datasets import samples
from tests.parsers.parser import Parser


@cache
def temporary():
    """A folder that is removed at the end of the process."""
    return tempfile.TemporaryDirectory(prefix="mpa-parsers-")


def folder():
    return Path(temporary().name)


def of_file(path, read):
    """The reader of bytes, by way of a file."""

    def read_bytes(data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return read_bytes


def dataset(name):
    path = getattr(samples, name)(folder() / name)
    path = path[0] if isinstance(path, tuple) else path  # the other one has the answers
    return Parser(of_file(path, check_dataset), (path.read_bytes(),))


def check_dataset(path):
    return check(open_dataset(path), "")


def images(path):
    for item in open_images(str(path), patience_s=0).walk(lambda _: False):
        with suppress(InvalidImage):
            if item.load is not None:
                item.load()


def tar():
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        member = tarfile.TarInfo("a.png")
        member.size = len(IMAGE)
        file.addfile(member, BytesIO(IMAGE))
    return buffer.getvalue()


def zipped(method):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("a.png", IMAGE)
        file.writestr("b/c.png", IMAGE)
    return buffer.getvalue()


def arrow():
    table = pa.table({"image": [IMAGE, IMAGE]})
    buffer = BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as file:
        file.write_table(table)
    return buffer.getvalue()


def parquet():
    buffer = BytesIO()
    pq.write_table(pa.table({"image": [IMAGE, IMAGE]}), buffer)
    return buffer.getvalue()


def ledger(path):
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    with closing(Ledger(path, read_only=True)) as opened:
        opened.require_intact()
        opened.metas()
        list(opened.likenesses())
        opened.image("a.png")


def a_ledger():
    path = folder() / "seed" / "run.sqlite"
    path.parent.mkdir(exist_ok=True)
    with closing(Ledger(path)) as written:
        written.set_meta("task", "vqa")
        written.add_image(ImageRow("a.png", SHA256))
    return path.read_bytes()


def manifest():
    found = Manifest("v1", "2026-01-01T00:00:00+00:00", SHA256, Contract(), Origin())
    path = folder() / "version" / MANIFEST
    path.parent.mkdir(exist_ok=True)
    return json.dumps(asdict(found)).encode()


def some_keys():
    path = folder() / "seed-keys.json"
    write_keys(path, (new_key("shop", ["ask"])[0],))
    return path.read_bytes()


def a_review():
    data = {"image_sha256": SHA256, "number": 0, "question": "what?", "answer": "one"}
    said = {"verdict": {"choices": ["accept"]}, "new_answer": {"text": ["two"]}}
    result = [{"from_name": name, "value": value} for name, value in said.items()]
    review = {"result": result, "completed_by": {"email": "a@b.c"}, "updated_at": "today"}
    return json.dumps([{"data": data, "annotations": [review]}]).encode()


def weights_file():
    header = b'{"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}'
    return struct.pack("<Q", len(header)) + header + bytes(24)


def container(name, *seeds):
    return lambda: Parser(of_file(folder() / "images" / name, images), seeds)


DATASETS = (
    "textvqa", "stvqa", "chartqa", "okvqa", "icdar", "textcaps", "coco", "pathvqa", "vlmevalkit",
    "parquet", "jsonl",
)  # fmt: skip
ZIPPED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
FILES = {
    "tar": container("a.tar", tar()),
    "zip": container("a.zip", *map(zipped, ZIPPED)),
    "arrow": container("a.arrow", arrow()),
    "rows": container("a.parquet", parquet()),
    "list": container("a.jsonl", b'{"image": "a.png"}\n{"image": {"path": "b.png"}}\n'),
    "table": container("a.csv", b"image,text\na.png,x\n"),
    **{name: partial(dataset, name) for name in DATASETS},
    "ledger": lambda: Parser(of_file(folder() / "ledger.sqlite", ledger), (a_ledger(),)),
    "manifest": lambda: Parser(
        of_file(folder() / "version" / MANIFEST, lambda path: Manifest.read(path.parent)),
        (manifest(),),
    ),
    "corrections": lambda: Parser(
        of_file(folder() / "reviewed.json", read_corrections), (a_review(),)
    ),
    "keys": lambda: Parser(of_file(folder() / "keys.json", read_keys), (some_keys(),)),
    "weights": lambda: Parser(
        of_file(folder() / "model" / "a.safetensors", lambda path: parameters(path.parent)),
        (weights_file(),),
    ),
}
"""Functions that make the readers."""
