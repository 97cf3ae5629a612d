"""Ledgers of earlier programs: updated when they are written, read through views otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from services.core.errors import WrongState
from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.schema import INDICES, LOGPROB, SCHEMA, SCHEMA_VERSION

SHELVED = 4
"""Schema since which rows are ordered by shelf."""
CHANGED = ("images", "annotations", "answers", "records")
"""Tables that had another order, and other columns, before it."""


def bring_up_to_date(database: Database) -> None:
    """Creates the tables that are missing and updates old ones.

    Raises WrongState for the ledger of a later program.
    """
    database.run_script(SCHEMA)
    schema = _known_schema(database) or SCHEMA_VERSION
    with database.at_once():
        for table in CHANGED if schema < SHELVED else ():
            _rebuild(database, table)
        if schema == SHELVED:
            database.write(f"ALTER TABLE answers ADD COLUMN {LOGPROB}")
        for index in INDICES:
            database.write(index)
        database.write("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", str(SCHEMA_VERSION))


def _rebuild(database: Database, table: str) -> None:
    """Gives the table its present columns, and its rows the defaults of the new ones."""
    names = ", ".join(column[1] for column in database.read(f"PRAGMA table_info({table})"))
    database.write(f"ALTER TABLE {table} RENAME TO before")
    with _present() as present:
        ((statement,),) = present.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
        ).fetchall()
    database.write(statement)
    database.write(f"INSERT INTO {table} ({names}) SELECT {names} FROM before")
    database.write("DROP TABLE before")


@contextmanager
def _present() -> Iterator[sqlite3.Connection]:
    """An in-memory database with the present tables, all empty."""
    with closing(sqlite3.connect(":memory:")) as present:
        present.executescript(SCHEMA)
        yield present


def read_as_up_to_date(database: Database) -> None:
    """Adds the columns of later schemas for a reader of an older ledger; the file is not changed.

    A ledger that is being created just now is read as an empty one. Raises WrongState for the
    ledger of a later program.
    """
    is_new = not any(database.read("SELECT 1 FROM sqlite_master WHERE name = 'meta'"))
    if is_new or 0 < _known_schema(database) < SCHEMA_VERSION:
        for view in _views_of_missing_columns(database):
            database.write(view)


def schema_of(database: Database) -> int:
    """Schema of the ledger; 0 if nothing has been written to it."""
    return int(
        next(
            (value for (value,) in database.read("SELECT value FROM meta WHERE key = 'schema'")), 0
        )
    )


def _known_schema(database: Database) -> int:
    schema = schema_of(database)
    if schema > SCHEMA_VERSION:
        raise WrongState(
            f"{database.path} is of schema {schema}, this program's is {SCHEMA_VERSION}: "
            "update the program, or start a new run"
        )
    return schema


def _views_of_missing_columns(old: Database) -> Iterator[str]:
    """Statements that give a reader the columns and tables that an older ledger lacks.

    A table that lacks columns is covered by a view of the same name that has them, with
    their defaults; one that isn't there becomes an empty table.
    """
    with _present() as present:
        for table, statement in present.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            columns = {
                column[1]: column[4] for column in present.execute(f"PRAGMA table_info({table})")
            }
            there = {column[1] for column in old.read(f"PRAGMA table_info({table})")}
            missing = [
                f"{default or 'NULL'} AS {name}"
                for name, default in columns.items()
                if name not in there
            ]
            if not there:
                yield statement.replace("CREATE TABLE", "CREATE TEMP TABLE", 1)
            elif missing:
                added = ", ".join(missing)
                yield f"CREATE TEMP VIEW {table} AS SELECT *, {added} FROM main.{table}"
