"""Damaged, empty, ambiguous or large containers: each problem is reported."""

import tracemalloc
from contextlib import suppress

import pytest
from datasets import Dataset, DatasetDict, Image

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.orchestrator.images.opening import open_images, require_images
from services.orchestrator.images.reading import Accepted, RefusedImage, read_image
from tests.orchestrator.images.conftest import (
    PICTURES,
    arrow_of,
    lines_of,
    parquet_of,
    put,
    tar_of,
    zip_of,
)
from tests.orchestrator.images.walking import contents, keys
from tests.pictures import png

DATA = list(PICTURES.values())
TAR = tar_of(PICTURES)


def told(source):
    """The images that can be read, and the reason for each of the others."""
    good, bad = [], []
    for item in source.walk(lambda _: False):
        try:
            item.load()
            good.append(item.key)
        except InvalidImage as error:
            bad.append((item.key, error.reason))
    return good, bad


@pytest.mark.parametrize(
    ("name", "data", "usable"),
    [
        ("cut in an image.tar", TAR[:5650], 5),
        ("cut in a header.tar", TAR[:5200], 5),
        ("another header.tar", TAR[: 5 * 1024] + b"x" * 512 + TAR[5 * 1024 + 512 :], 5),
        ("none.tar", b"I am no tar, but I am long enough to be taken for one. " * 40, 0),
        ("cut.tar.gz", tar_of(PICTURES, "w:gz")[:-60], None),
        ("cut.zip", zip_of(PICTURES)[:-40], 0),
        ("cut.parquet", parquet_of({"image": DATA})[:-40], 0),
        ("cut.arrow", arrow_of({"image": DATA})[:600], None),
    ],
)
def test_a_damaged_file_is_told_and_what_comes_before_and_after_is_used(
    tmp_path, name, data, usable
):
    suffix = name[name.index(".") :]
    whole = {".zip": zip_of, ".tar": tar_of, ".tar.gz": lambda files: tar_of(files, "w:gz")}
    make = whole.get(
        suffix,
        lambda files: (parquet_of if suffix == ".parquet" else arrow_of)(
            {"image": list(files.values())}
        ),
    )
    put(str(tmp_path), {f"a{suffix}": data, f"b{suffix}": make({"last.png": png()})})
    good, bad = told(open_images(f"{tmp_path}/*{suffix}"))
    assert bad == [(f"a{suffix}", "SOURCE_DAMAGED")]
    assert good[-1].startswith(f"b{suffix}#")
    assert usable is None or len(good) == usable + 1


def test_one_bad_row_or_member_is_refused_alone(tmp_path):
    rows = [
        {"bytes": None, "path": None},
        {"bytes": None, "path": "gone.png"},
        {"bytes": b"text", "path": None},
    ]
    files = {
        "p.parquet": parquet_of({"image": [{"bytes": DATA[0], "path": ""}, *rows]}),
        "m.jsonl": lines_of(
            [{"image": "here.png"}, {"picture": 1}, {"image": ""}, {"image": "gone.png"}]
        )
        + b"{\n",
        "here.png": DATA[1],
    }
    put(str(tmp_path), files)
    table, manifest = open_images(f"{tmp_path}/p.parquet"), open_images(f"{tmp_path}/m.jsonl")
    found = [read_image(table, f"p.parquet#{row:07}") for row in range(4)]
    assert [type(one) for one in found] == [Accepted, RefusedImage, RefusedImage, RefusedImage]
    assert [one.reason for one in found[1:]] == [
        "IMAGE_EMPTY",
        "IMAGE_UNREADABLE",
        "IMAGE_UNREADABLE",
    ]
    good, bad = told(manifest)
    assert good == ["here.png"]
    assert [key for key, _ in bad] == ["m.jsonl#2", "m.jsonl#3", "gone.png", "m.jsonl#5"]


def test_a_table_that_claims_more_rows_than_it_has_is_read_to_its_end(tmp_path):
    data = parquet_of({"image": [DATA[0], DATA[1]]})
    size = int.from_bytes(data[-8:-4], "little")
    head, footer = data[: -8 - size], data[-8 - size : -8]
    places = [at for at, byte in enumerate(footer) if byte == 4]  # two rows
    asked = []

    def is_done(key):
        asked.append(key)
        return False

    for at in places:
        claimed = footer[:at] + b"\x80\x80\x80\x04" + footer[at + 1 :]  # 2**22 rows
        end = len(claimed).to_bytes(4, "little") + b"PAR1"
        put(str(tmp_path), {"p.parquet": head + claimed + end})
        with suppress(InvalidInput):
            list(open_images(f"{tmp_path}/p.parquet").walk(is_done))
        assert len(asked) < 10 * len(places)


def test_a_path_that_is_no_text_is_refused_alone(tmp_path):
    table = parquet_of({"image": ["bad.png", "here.png"]}).replace(b"bad.png", b"\x97ad.png")
    put(str(tmp_path), {"p.parquet": table, "here.png": DATA[0]})
    good, bad = told(open_images(f"{tmp_path}/p.parquet"))
    assert good == ["p.parquet#0000001"]
    assert bad == [("p.parquet#0000000", "IMAGE_UNREADABLE")]


@pytest.mark.parametrize(
    ("files", "images", "error", "said"),
    [
        (
            {"a.jsonl": lines_of([{"caption": "a cat"}])},
            "a.jsonl",
            InvalidInput,
            "has the columns caption; call one image",
        ),
        ({"a.csv": b""}, "a.csv", NotFound, "it is empty"),
        (
            {"a.parquet": parquet_of({"label": ["a"]})},
            "a.parquet",
            InvalidInput,
            r"no column of images \(its columns: label\)",
        ),
        ({"a.tar": tar_of({"a.json": b"{}"})}, "a.tar", NotFound, "such as a.tar#a.json"),
        ({"a.zip": zip_of({"a.txt": b"x"})}, "a.zip", NotFound, "such as a.zip#a.txt"),
        ({"x/labels.json": b"[]"}, "x", NotFound, "such as labels.json"),
        (
            {"x/data/train-00000-of-00001.parquet": b"", "x/data/test-00000-of-00001.parquet": b""},
            "x",
            InvalidInput,
            r"splits test, train: name one, such as .*x/data/train-\*.parquet",
        ),
        ({}, "s-{000..001}.tar", NotFound, "no s-000.tar|no .*s-000.tar"),
    ],
)
def test_what_holds_no_images_says_what_it_holds(tmp_path, files, images, error, said):
    put(str(tmp_path), files)
    with pytest.raises(error, match=said):
        require_images(f"{tmp_path}/{images}")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.parquet"])
def test_a_key_of_another_file_is_refused(tmp_path, name):
    """Keys are read from ledgers, and a stranger's ledger may say anything."""
    make = {".zip": zip_of, ".tar": tar_of}.get(name[1:], lambda _: parquet_of({"image": DATA}))
    for folder in ("own", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(make(PICTURES))
    source = open_images(str(tmp_path / "own" / name))
    key = keys(source)[0]
    assert source.read(key)
    for file in (f"{tmp_path}/other/{name}", f"file://{tmp_path}/other/{name}"):
        with pytest.raises(InvalidImage, match="leads out of"):
            source.read(key.replace(name, file, 1))


def test_a_data_set_saved_by_its_library(tmp_path):
    columns = {"image": [{"bytes": data, "path": None} for data in DATA], "label": [1] * len(DATA)}
    saved = Dataset.from_dict(columns).cast_column("image", Image())
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    source = open_images(str(tmp_path / "one"))
    assert source.total() == len(DATA)
    assert list(contents(source).values()) == DATA
    assert str(source.ignored) == "columns label"
    assert source.read(keys(source)[-1]) == DATA[-1]
    DatasetDict({"train": saved, "test": saved}).save_to_disk(tmp_path / "both")
    with pytest.raises(InvalidInput, match=r"2 splits: name one, such as .*both/train"):
        open_images(str(tmp_path / "both"))
    assert list(contents(open_images(str(tmp_path / "both" / "train"))).values()) == DATA
    saved.to_parquet(tmp_path / "hub" / "train.parquet")
    assert list(contents(open_images(str(tmp_path / "hub"))).values()) == DATA


def test_an_archive_within_a_url_is_a_folder(tmp_path):
    put(
        str(tmp_path),
        {"pool.zip": zip_of({"in/a.png": DATA[0], "in/b.png": DATA[1], "c.txt": b""})},
    )
    for url in (f"zip://in::{tmp_path}/pool.zip", f"zip://*/*.png::file://{tmp_path}/pool.zip"):
        source = open_images(url)
        assert list(contents(source).values()) == DATA[:2]
        assert [source.read(key) for key in keys(source)] == DATA[:2]


@pytest.mark.parametrize("kind", ["tar", "jsonl", "parquet", "folder"])
def test_what_a_walk_holds_does_not_grow_with_the_images(tmp_path, kind):
    """Some 20 MB if it kept the headers of 10,000 members, 1 MB for their names."""
    count = 10_000 if kind != "folder" else 2_000
    names = [f"{number // 1000}/a-rather-long-name-{number:05}.png" for number in range(count)]
    if kind == "tar":
        put(str(tmp_path), {"p.tar": tar_of(dict.fromkeys(names, b"x"))})
    elif kind == "jsonl":
        put(str(tmp_path), {"p.jsonl": lines_of({"image": name} for name in names)})
    elif kind == "parquet":
        put(str(tmp_path), {"p.parquet": parquet_of({"image": [b"x"] * count}, group=500)})
    else:
        for name in names:
            (tmp_path / "p.folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "p.folder" / name).touch()
    source = open_images(f"{tmp_path}/p.{kind}")
    next(source.walk(lambda _: False))
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.walk(lambda _: False)) == count
        assert tracemalloc.get_traced_memory()[1] < 700_000
    finally:
        tracemalloc.stop()
