"""Our own tables. They hold keys and labels of rows, and counts; never a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from keyhinge_store._errors import DatabaseError, MigrationError
from keyhinge_store._errors_sql import translated
from keyhinge_store._table import UtcDateTime

__all__ = [
    "DATA_KEY",
    "EVIDENCE",
    "FAILURE",
    "LEDGER",
    "METADATA",
    "PARTICIPANT",
    "RANGE",
    "RUN",
    "STATE",
    "create_state_tables",
    "has_state_table",
    "has_state_tables",
    "state_statements",
]

STATE = "_keyhinge_state_schema_"
"""What stands for the schema of our own tables; `KeepsState` puts in the real one."""
METADATA = sa.MetaData(schema=STATE)
_THERE = sa.text(
    "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = :home AND relkind IN ('r', 'p') AND relname IN :names"
).bindparams(sa.bindparam("names", expanding=True))
_NO_PRIVILEGE = "42501"
_TRIES = 5

# An INTEGER PRIMARY KEY is what counts up by itself in SQLite.
_Counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Seconds since 1970 by the database's clock.
_Seconds: sa.Double[float] = sa.Double()


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")


RUN = sa.Table(
    "keyhinge_run",
    METADATA,
    sa.Column("run_id", _Counted, primary_key=True, autoincrement=True),
    # What is moved, by the labels of table and column, which outlive renaming.
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("table_name", sa.Text(), nullable=False),
    sa.Column("operation", sa.Text(), nullable=False),
    sa.Column("source", sa.Text(), nullable=False),  # JSON
    sa.Column("target", sa.Text(), nullable=False),
    sa.Column("target_key", sa.Text()),  # JSON
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("retry_of", sa.BigInteger()),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False, server_default=""),
    sa.Column("started_at", UtcDateTime(), nullable=False),
    sa.Column("started_by", sa.Text(), nullable=False),
    sa.Column("ended_at", UtcDateTime()),
    _count("rows_at_start"),
    _count("matched"),
    _count("already"),
    # The limit on speed: a bucket that fills by the clock, for all processes together.
    sa.Column("rate", sa.Double()),
    sa.Column("tokens", sa.Double(), nullable=False, server_default="0"),
    sa.Column("tokens_at", _Seconds, nullable=False),
    # The sweep under way, and how far it is divided into ranges.
    sa.Column("max_sweeps", sa.Integer(), nullable=False),
    sa.Column("sweep", sa.Integer(), nullable=False, server_default="1"),
    sa.Column("begun", sa.Boolean(), nullable=False),
    sa.Column("clean", sa.Boolean(), nullable=False),
    sa.Column("horizon", sa.BigInteger(), nullable=False),
    sa.Column("not_before", _Seconds, nullable=False),
    sa.Column("quiet", sa.Boolean(), nullable=False),
    sa.Column("next_key", sa.Text()),  # JSON
    sa.Column("divided", sa.Boolean(), nullable=False),
    sa.Column("next_range", sa.Integer(), nullable=False, server_default="1"),
    # The sums of the sweeps that are over; `failed` is the last one's.
    _count("moved"),
    _count("changed"),
    _count("gone"),
    _count("busy"),
    _count("failed"),
    # Who works on it, where only one may: in SQLite.
    sa.Column("holder", sa.Text()),
    sa.Column("lease_until", _Seconds, nullable=False, server_default="0"),
)
sa.Index(
    "keyhinge_run_active",
    RUN.c.subject,
    unique=True,
    postgresql_where=RUN.c.state == "active",
    sqlite_where=RUN.c.state == "active",
)

RANGE = sa.Table(
    "keyhinge_range",
    METADATA,
    sa.Column("run_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("sweep", sa.Integer(), nullable=False),
    sa.Column("position", sa.Text()),  # JSON; everything up to it is done
    sa.Column("last_key", sa.Text()),  # JSON; NULL is the end of the table
    sa.Column("is_open", sa.Boolean(), nullable=False),
    sa.Column("holder", sa.Text(), nullable=False),
    sa.Column("lease_until", _Seconds, nullable=False),
    # Grows with each new holder: what an earlier one still wants to write is refused.
    sa.Column("epoch", sa.Integer(), nullable=False),
    sa.Column("batches", sa.Integer(), nullable=False, server_default="0"),
    _count("seen"),
    _count("moved"),
    _count("changed"),
    _count("gone"),
    _count("busy"),
    _count("failed"),
)

FAILURE = sa.Table(
    "keyhinge_failure",
    METADATA,
    sa.Column("failure_id", _Counted, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.BigInteger(), nullable=False),
    sa.Column("key_digest", sa.Text(), nullable=False),  # the key may be too long for an index
    sa.Column("key", sa.Text(), nullable=False),  # JSON, by the columns' names
    sa.Column("sweep", sa.Integer(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("message", sa.Text(), nullable=False),
    sa.Column("sqlstate", sa.Text(), nullable=False),
    sa.Column("failed_at", UtcDateTime(), nullable=False),
    sa.UniqueConstraint("run_id", "key_digest", name="keyhinge_failure_once"),
)

LEDGER = sa.Table(
    "keyhinge_ledger",
    METADATA,
    sa.Column("subject", sa.Text(), primary_key=True),
    sa.Column("key_digest", sa.Text(), primary_key=True),
    sa.Column("key", sa.Text(), nullable=False),  # JSON
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("section", sa.Text(), nullable=False),
    sa.Column("key_id", sa.Text(), nullable=False),
    sa.Column("version", sa.Text(), nullable=False),
    sa.Column("written_at", UtcDateTime(), nullable=False),
)

# What a run began with and came to, for whoever has to prove it later.
EVIDENCE = sa.Table(
    "keyhinge_evidence",
    METADATA,
    sa.Column("run_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text(), primary_key=True),  # "start", "end" or "verify"
    sa.Column("taken_at", UtcDateTime(), nullable=False),
    sa.Column("content", sa.Text(), nullable=False),  # JSON: labels and counts
)

PARTICIPANT = sa.Table(
    "keyhinge_participant",
    METADATA,
    sa.Column("run_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("holder", sa.Text(), primary_key=True),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("joined_at", UtcDateTime(), nullable=False),
    # Of the ranges that it finished, in the sweeps that are over.
    _count("moved"),
)

# The data keys that an active run's processes have made, by what the provider calls them.
DATA_KEY = sa.Table(
    "keyhinge_data_key",
    METADATA,
    sa.Column("run_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text(), primary_key=True),
)


class HasState(Protocol):
    """A store, a mapped column, or all mapped columns."""

    @property
    def engine(self) -> sa.Engine:
        """The engine for everything else."""

    @property
    def named_schema(self) -> str | None:
        """The schema of our own tables, as far as it is known without a connection."""

    @property
    def state(self) -> sa.Engine:
        """The engine for statements about our own tables."""


def has_state_tables(connection: sa.Connection) -> bool:
    """Tell whether all of our own tables are there. One statement, as each process asks it."""
    return _are_there(connection, [table.name for table in METADATA.sorted_tables])


def has_state_table(connection: sa.Connection, table: sa.Table) -> bool:
    """Tell whether one of our own tables is there."""
    return _are_there(connection, [table.name])


def _are_there(connection: sa.Connection, names: Sequence[str]) -> bool:
    if connection.dialect.name == "sqlite":
        listed = sa.table("sqlite_master", sa.column("type"), sa.column("name"))
        there = sa.select(sa.func.count()).where(listed.c.type == "table", listed.c.name.in_(names))
        return bool(connection.execute(there).scalar_one() == len(names))
    home = connection.get_execution_options()["schema_translate_map"][STATE]
    found = connection.execute(_THERE, {"home": home, "names": names}).scalar_one()
    return bool(found == len(names))


def create_state_tables(store: HasState) -> None:
    """Make our own tables, if they aren't there yet.

    They are made in the schema of the table with the values, or in `state_schema`.

    Args:
        store: A store, a mapped column, or all mapped columns.

    Raises:
        MigrationError: The user may not make tables.
        MappingError: There are some in another schema already.
        DatabaseError: The database refused.
    """
    engine = store.state
    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            with engine.connect() as connection:
                if has_state_tables(connection):
                    return
            with engine.begin() as connection:
                METADATA.create_all(connection, checkfirst=True)
            return
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.OperationalError) as error:
            # Another process may be making them at this moment: then they are there next time.
            failure = translated(error)
            if isinstance(failure, DatabaseError) and failure.sqlstate == _NO_PRIVILEGE:
                break
    if isinstance(failure, DatabaseError) and failure.sqlstate == _NO_PRIVILEGE:
        names = ", ".join(table.name for table in METADATA.sorted_tables)
        msg = (
            "a migration keeps its state in tables of its own, and the database's user may not "
            f"make them ({names}). Let `keyhinge store init` make them as a user who may, or run "
            "what `keyhinge store init --sql` prints, and grant SELECT, INSERT, UPDATE and DELETE "
            "on them, and USAGE on their sequences"
        )
        raise MigrationError(msg)
    assert failure is not None  # noqa: S101 - the loop ends by returning otherwise
    raise failure


def state_statements(store: HasState) -> list[str]:
    """Write the statements that make our own tables, without semicolons. Connects nowhere.

    Args:
        store: A store, a mapped column, or all mapped columns.

    Returns:
        The statements. They name the schema where the configuration does.
    """
    dialect, schema = store.engine.dialect, store.named_schema
    made: list[ExecutableDDLElement] = []
    printed = sa.MetaData(schema=schema)
    for each in METADATA.sorted_tables:
        # None is the new MetaData's, which its annotation doesn't say.
        table = each.to_metadata(printed, schema=None)  # type: ignore[arg-type]
        made += [CreateTable(table), *map(CreateIndex, table.indexes)]
    return [str(each.compile(dialect=dialect)).strip() for each in made]
