"""The statements that make the table, for those who run them by hand."""

from __future__ import annotations

from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from keyhinge_store._store import SecretStore

__all__ = ["statements"]


def statements(store: SecretStore) -> list[str]:
    """Write what `create_tables` would execute, in the database's own SQL. Connects nowhere.

    Args:
        store: The store; it needn't have a table yet.

    Returns:
        The statements, without semicolons.
    """
    table = store.layout.table
    made: list[ExecutableDDLElement] = [CreateTable(table), *map(CreateIndex, table.indexes)]
    return [str(each.compile(dialect=store.engine.dialect)).strip() for each in made]
