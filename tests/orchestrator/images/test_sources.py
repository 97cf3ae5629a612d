"""Every kind of source, local, in memory and in a bucket: all images in order, each one again."""

import csv
import io

import pyarrow as pa
import pytest

from services.core.errors import InvalidImage
from services.orchestrator.images.opening import open_images, require_images
from tests.orchestrator.images.conftest import (
    COUNT,
    PICTURES,
    arrow_of,
    lines_of,
    parquet_of,
    put,
    tar_of,
    zip_of,
)
from tests.orchestrator.images.walking import contents, keys

HALVES = [dict(list(PICTURES.items())[:6]), dict(list(PICTURES.items())[6:])]
DATA = list(PICTURES.values())
STRUCTS = [{"bytes": data, "path": name} for name, data in PICTURES.items()]
LABELS = [f"label {number}" for number in range(COUNT)]


def folder():
    return (
        {**{f"pool/{name}": data for name, data in PICTURES.items()}, "pool/labels.json": b"[]"},
        "pool",
        list(PICTURES),
    )


def classes():
    names = [f"{'cat' if number % 2 else 'dog'}/{name}" for number, name in enumerate(PICTURES)]
    return dict(zip((f"pool/{name}" for name in names), DATA, strict=True)), "pool", sorted(names)


def globbed():
    return (
        {f"pool/a/{name}": data for name, data in PICTURES.items()},
        "pool/*/0*.png",
        [f"a/{name}" for name in PICTURES],
    )


def jsonl():
    rows = [{"image": f"pool/{name}", "question": "what?", "answer": "red"} for name in PICTURES]
    files = {f"pool/{name}": data for name, data in PICTURES.items()}
    return (
        {**files, "all.jsonl": lines_of(rows)},
        "all.jsonl",
        [f"pool/{name}" for name in PICTURES],
    )


def table_of_paths(delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", "file_name", "answer"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(
        {"id": n, "file_name": name, "answer": 'one, "two"'} for n, name in enumerate(PICTURES)
    )
    file = "list.csv" if delimiter == "," else "list.tsv"
    return {**PICTURES, file: text.getvalue().encode()}, file, list(PICTURES)


def tabbed():
    return table_of_paths("\t")


def tars():
    files = {
        f"shards/{n}.tar": tar_of({**half, "000.json": b"{}", "x/000.cls": b"3"})
        for n, half in enumerate(HALVES)
    }
    return files, "shards", None


def a_range_of_tars():
    return (
        {f"s-{n:03}.tar": tar_of(half) for n, half in enumerate(HALVES)},
        "s-{000..001}.tar",
        None,
    )


def a_compressed_tar():
    return {"pool.tar.gz": tar_of({**PICTURES, "labels.txt": b"cat"}, "w:gz")}, "pool.tar.gz", None


def zips():
    names = [f"pool.zip#in/{name}" for name in PICTURES]
    inside = {
        **{f"in/{name}": data for name, data in PICTURES.items()},
        "labels.csv": b"a",
        "__MACOSX/in/._000.png": b"no",
    }
    return {"pool.zip": zip_of(inside)}, "pool.zip", names


def rows(file, count=COUNT):
    return [f"{file}#{number:07}" for number in range(count)]


def parquet():
    return (
        {"p.parquet": parquet_of({"label": LABELS, "image": STRUCTS})},
        "p.parquet",
        rows("p.parquet"),
    )


def parquet_of_bytes():
    return (
        {"p.parquet": parquet_of({"picture": DATA, "label": LABELS})},
        "p.parquet",
        rows("p.parquet"),
    )


def parquet_of_pointers():
    files = {f"pool/{name}": data for name, data in PICTURES.items()}
    columns = {"path": [f"pool/{name}" for name in PICTURES], "label": LABELS}
    return {**files, "p.parquet": parquet_of(columns)}, "p.parquet", rows("p.parquet")


def a_hub_folder():
    parts = {
        f"set/data/train-{n:05}-of-00002.parquet": parquet_of({"image": STRUCTS[n * 6 :][:6]})
        for n in (0, 1)
    }
    names = [f"data/train-{n:05}-of-00002.parquet#{row:07}" for n in (0, 1) for row in range(6)]
    return {**parts, "set/README.md": b"# A set", "set/LICENSE": b"free"}, "set", names


def arrow_stream():
    return {"p.arrow": arrow_of({"image": STRUCTS, "label": LABELS})}, "p.arrow", rows("p.arrow")


def arrow_file():
    return (
        {"p.arrow": arrow_of({"image": STRUCTS, "label": LABELS}, pa.ipc.new_file)},
        "p.arrow",
        rows("p.arrow"),
    )


KINDS = [
    folder,
    classes,
    globbed,
    jsonl,
    table_of_paths,
    tabbed,
    tars,
    a_range_of_tars,
    a_compressed_tar,
    zips,
    parquet,
    parquet_of_bytes,
    parquet_of_pointers,
    a_hub_folder,
    arrow_stream,
    arrow_file,
]
LABELLED = {
    folder: "labels.json",
    classes: "cat, dog",
    jsonl: "columns question, answer",
    table_of_paths: "columns id, answer",
    tabbed: "columns id, answer",
    tars: "such as 0.tar#000.json",
    a_compressed_tar: "labels.txt",
    zips: "labels.csv",
    parquet: "columns label",
    parquet_of_bytes: "columns label",
    parquet_of_pointers: "columns label",
    arrow_stream: "columns label",
    arrow_file: "columns label",
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_images_in_order_and_each_again_by_its_key_and_labels_never(place, kind):
    files, images, expected = kind()
    put(place, files)
    url = f"{place}/{images}"
    require_images(url)
    source = open_images(url)
    assert source.total() in (None, COUNT)
    found = contents(source)
    assert expected is None or list(found) == expected
    assert sorted(found.values()) == sorted(DATA)
    assert LABELLED.get(kind, "") in str(source.ignored)
    assert list(contents(open_images(url))) == list(found)
    again = open_images(url)
    for key in sorted(found, key=hash):
        assert again.read(key) == found[key]
    done = set(list(found)[:9])
    assert keys(open_images(url), done) == [key for key in found if key not in done]
    with pytest.raises(InvalidImage):
        again.read(f"{list(found)[-1]}9")
