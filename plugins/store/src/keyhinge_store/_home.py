"""Where our own tables are: in one schema that all agree on, whatever their `search_path`.

Two roles of PostgreSQL may look for a table without a schema in different places. They would keep
two sets of our tables without a word, and each miss the runs and the adoptions of the other. So
ours are in the schema in which the table with the values is, or in the one that is given.
"""

from __future__ import annotations

import sqlalchemy as sa

from keyhinge import Problem
from keyhinge_store._database import require_file
from keyhinge_store._errors import MappingError
from keyhinge_store._errors_sql import guarded
from keyhinge_store._owned import OwnsEngine
from keyhinge_store._reflect_postgresql import full_name
from keyhinge_store._runs._tables import METADATA, STATE

__all__ = ["KeepsState"]

_MAP = "schema_translate_map"

_PLACES = sa.text("""
WITH named AS (
    SELECT relname, relnamespace FROM pg_class WHERE oid = to_regclass(:table)
), home AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE CASE WHEN CAST(:given AS text) IS NULL
        THEN oid = (SELECT relnamespace FROM named) ELSE nspname = :given END
), ours AS (
    SELECT relnamespace FROM pg_class WHERE relkind IN ('r', 'p') AND relname IN :names
)
SELECT nspname, EXISTS (SELECT FROM ours WHERE relnamespace = home.oid), (
    SELECT min(nspname) FROM pg_namespace AS other
    WHERE oid IN (SELECT relnamespace FROM ours) AND has_schema_privilege(oid, 'USAGE')
        AND CASE WHEN CAST(:given AS text) IS NULL
            -- Beside a table of the same name they are another application's, as of a tenant.
            THEN NOT EXISTS (SELECT FROM pg_class AS twin JOIN named USING (relname)
                WHERE twin.relnamespace = other.oid)
            ELSE oid = (SELECT relnamespace FROM named) END
)
FROM home
""").bindparams(sa.bindparam("names", expanding=True))


class KeepsState(OwnsEngine):
    """Something that keeps its state in our own tables, beside a table with values.

    Attributes:
        state_schema: The schema of our own tables, as it was given; None for that of the table.
    """

    state_schema: str | None = None
    _home: str | None = None

    def _beside(self) -> tuple[str | None, str]:
        """Name the table with the values: its schema, if one is given, and its name."""
        raise NotImplementedError

    @property
    def named_schema(self) -> str | None:
        """The schema of our own tables, as far as it is known without a connection."""
        if _has_one_schema(self.engine):
            return None
        return self.state_schema or self._beside()[0]

    @property
    def state(self) -> sa.Engine:
        """The engine for statements about our own tables, too.

        Raises:
            MappingError: They are in another schema, or the schema that was given isn't there.
            DatabaseError: The database failed.
        """
        if self._home is None and not _has_one_schema(self.engine):
            require_file(self._own_url or self.engine.url)

            def look() -> None:
                with self.engine.connect() as connection:
                    self._settle(connection)

            guarded(look)
        # Made anew each time, which costs nothing: one that is kept doesn't hear of event listeners
        # that are put on the application's engine later.
        return self.engine.execution_options(**_option(self.engine, self._home))

    def _settle(self, connection: sa.Connection) -> None:
        """Find out where our own tables are, and look for them there on this connection.

        Raises:
            MappingError: As for `state`.
            SQLAlchemyError: The database failed.
        """
        if self._home is None and not _has_one_schema(self.engine):
            self._home = _find(connection, *self._beside(), self.state_schema)
        connection.execution_options(**_option(connection, self._home))

    def _unsettle(self) -> None:
        """Look for our own tables again when they are next needed."""
        self._home = None


def _has_one_schema(engine: sa.Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _option(of: sa.Engine | sa.Connection, home: str | None) -> dict[str, dict[str | None, str]]:
    # Where there is no table yet, nothing else can be there either: the session's own place.
    place = home or of.dialect.default_schema_name or "main"
    return {_MAP: {**of.get_execution_options().get(_MAP, {}), STATE: place}}


def _find(
    connection: sa.Connection, schema: str | None, table: str, given: str | None
) -> str | None:
    """Name the schema of our own tables; None where the table isn't there yet."""
    name = table if schema is None else f"{schema}.{table}"
    values = {
        "table": full_name(connection.dialect, table, schema),
        "given": given,
        "names": [each.name for each in METADATA.sorted_tables],
    }
    row = connection.execute(_PLACES, values).first()
    if row is None:
        if given is not None:
            msg = f"the database has no schema {given!r}"
            raise MappingError(name, [Problem("stateSchema", msg)])
        return None
    home, is_there, elsewhere = row
    if elsewhere is not None and not is_there:
        msg = (
            f"Keyhinge's own tables (keyhinge_mapping, keyhinge_run and others) are looked for in "
            f"the schema {home!r} and aren't there, but there are some in {elsewhere!r}. If these "
            f"are the table's, move each with ALTER TABLE … SET SCHEMA, or say 'stateSchema: "
            f"{elsewhere}'; if they are another application's, say 'stateSchema: {home}'"
        )
        raise MappingError(name, [Problem("stateSchema", msg)])
    return str(home)
