"""`keyhinge store`: making tables, and ending adoptions."""

from __future__ import annotations

import click

from keyhinge_cli._exit import USAGE, CliError
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored, open_tables


@click.group("store", cls=Group)
def store() -> None:
    """Prepare the database."""


@store.command("init")
@click.option("--sql", is_flag=True, help="Print the statements instead; connects nowhere.")
@pass_invocation
def init(invocation: Invocation, sql: bool) -> None:
    """Make the table for the secrets, and with SQLite the file, if they aren't there yet.

    Also those in which migrations keep their state, for users who may not make any themselves.
    Where the configuration maps an application's tables, only these are made.

    With Alembic, use `keyhinge_store.secrets_table(metadata)` instead.
    """
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        from keyhinge_store import SecretStore

        if sql:
            made = (
                plugin("store", "._ddl").statements(stored)
                if isinstance(stored, SecretStore)
                else []
            )
            made += plugin("store", "._runs._tables").state_statements(stored)
            for statement in made:
                out.event("statement", sql=statement)
                if not out.as_json:
                    click.echo(f"{statement};")
            return
        if isinstance(stored, SecretStore):
            stored.create_tables()
            tables = [stored.layout.table.fullname]
        else:
            tables = [column.mapping.full_name for column in stored]
            stored.run(lambda _: None)  # does every mapping fit its table?
        plugin("store").create_state_tables(stored)
        place = plugin("store", "._about").database_text(stored.engine)
    for name in dict.fromkeys(tables):
        out.event("store_init", table=name, database=place)
        out.note(f"the table {name} is ready in {place}")


@store.command("finish-adoption")
@click.argument("table")
@click.option("--column", help="The column with the values, where the table has several.")
@pass_invocation
def finish_adoption(invocation: Invocation, table: str, column: str | None) -> None:
    """End the reading of plaintexts in a TABLE of the configuration that is being adopted.

    Refused while one is left: `migrate` encrypts them. Applications notice it when they are
    restarted. There is no way back, so that nobody can plant a plaintext.
    """
    with open_keys(invocation) as keys, open_tables(invocation, keys) as tables:
        try:
            mapped = tables.column(table, column)
        except KeyError:
            named = ", ".join(f"{each.mapping.table}.{each.mapping.value}" for each in tables)
            msg = f"no table, or more than one, of the configuration fits; it maps {named}"
            raise CliError(msg, USAGE) from None
        mapped.finish_adoption()
        name = mapped.name
    invocation.out.event("adoption_finished", table=name)
    invocation.out.note(f"{name} is adopted: from now on a plaintext in it is an error")
