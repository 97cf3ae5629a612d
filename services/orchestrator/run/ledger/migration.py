"""Ledgers of earlier programs: brought up to date where they are written, read as if they were where they are only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from services.core.errors import WrongState
from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.schema import INDICES, SCHEMA, SCHEMA_VERSION

CHANGED = ("images", "annotations", "answers", "records")
"""Tables that had other columns, or another order, in earlier schemas."""


def bring_up_to_date(database: Database) -> None:
    """Creates the tables where there are none. Raises WrongState: the ledger of a later program."""
    database.run_script(SCHEMA)
    schema = _known_schema(database) or SCHEMA_VERSION
    with database.at_once():
        for table in CHANGED if schema < SCHEMA_VERSION else ():
            _rebuild(database, table)
        for index in INDICES:
            database.write(index)
        database.write("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", str(SCHEMA_VERSION))


def _rebuild(database: Database, table: str) -> None:
    """As the table is now, with the rows that it has, and defaults for what they lack."""
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
    """A database in memory that has the tables as they are now, without a row."""
    with closing(sqlite3.connect(":memory:")) as present:
        present.executescript(SCHEMA)
        yield present


def read_as_up_to_date(database: Database) -> None:
    """Puts what later schemas added before the reader of an older ledger, which stays as it is. Raises as above."""
    if 0 < _known_schema(database) < SCHEMA_VERSION:
        for view in _views_of_missing_columns(database):
            database.write(view)


def schema_of(database: Database) -> int:
    """0 where nothing has been written to it."""
    return int(
        next(
            (value for (value,) in database.read("SELECT value FROM meta WHERE key = 'schema'")), 0
        )
    )


def _known_schema(database: Database) -> int:
    schema = schema_of(database)
    if schema > SCHEMA_VERSION:
        raise WrongState(
            f"{database.path} is of schema {schema}, this program's is {SCHEMA_VERSION}: update the program, or start a new run"
        )
    return schema


def _views_of_missing_columns(old: Database) -> Iterator[str]:
    """For each table of an older ledger a view of the same name that has the columns it lacks, with their defaults; an empty
    table for one that it doesn't have.
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
                yield f"CREATE TEMP VIEW {table} AS SELECT *, {', '.join(missing)} FROM main.{table}"
