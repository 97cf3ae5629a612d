"""Exported Parquet files, read by pyarrow."""

import json

import pyarrow.parquet as pq

from services.orchestrator.exports.tables import ARROW, SPECIMEN
from services.orchestrator.run.run import read_run


def test_every_record_is_there_with_all_that_show_tells(export, records, parity_set):
    table = pq.read_table(export("parquet", "--all"))
    rows = table.to_pylist()
    assert [{name: row[name] for name in records[0]} for row in rows] == records
    assert {row["rejection"] for row in rows} == {None, "no_question", "IMAGE_UNREADABLE"}
    chosen = {(row["image_sha256"], row["question"]) for row in rows if row["in_parity_set"]}
    assert chosen == set(parity_set)
    assert len({(row["run"], row["task"], row["recipe"], row["round"]) for row in rows}) == 1


def test_the_parity_set_alone_unless_more_is_asked_for(export, parity_set):
    rows = pq.read_table(export("parquet")).to_pylist()
    assert {(row["image_sha256"], row["question"]) for row in rows} == set(parity_set)
    assert all(row["in_parity_set"] for row in rows)


def test_it_is_zstd_and_carries_the_runs_settings(export, run):
    file = pq.ParquetFile(export("parquet"))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    with read_run(run) as opened:
        assert json.loads(file.schema_arrow.metadata[b"mpa.settings"]) == json.loads(
            opened.settings.to_json()
        )


def test_types_do_not_depend_on_what_a_run_has(export, records):
    """A column has the same type in every export, also if it is empty."""
    schema = pq.read_schema(export("parquet", "--all"))
    kinds = {str(schema.field(name).type) for name in schema.names}
    assert kinds == {str(kind) for kind in ARROW.values()}
    for name in schema.names:
        expected = (
            "int64"
            if name.endswith(
                ("_tokens", "_seed", "number", "attempt", "round", "_agreed", "_asked")
            )
            else None
        )
        expected = "double" if name.endswith(("_cost_usd", "_logprob")) else expected
        expected = (
            "bool"
            if name in ("held_out", "in_parity_set") or name.endswith(("_right", "_is_cached"))
            else expected
        )
        assert str(schema.field(name).type) == (expected or "string"), name
    assert SPECIMEN.cell
