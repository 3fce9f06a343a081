"""`keyhinge store`: making the table."""

from __future__ import annotations

import click

from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_store


@click.group("store", cls=Group)
def store() -> None:
    """Prepare the database."""


@store.command("init")
@click.option("--sql", is_flag=True, help="Print the statements instead; connects nowhere.")
@pass_invocation
def init(invocation: Invocation, sql: bool) -> None:
    """Make the table for the secrets, and with SQLite the file, if they aren't there yet.

    With Alembic, use `keyhinge_store.secrets_table(metadata)` instead.
    """
    out = invocation.out
    with open_keys(invocation) as keys, open_store(invocation, keys) as opened:
        name = opened.layout.table.fullname
        if sql:
            for statement in plugin("store", "._ddl").statements(opened):
                out.event("statement", sql=statement)
                if not out.as_json:
                    click.echo(f"{statement};")
            return
        opened.create_tables()
        url = plugin("store").database_url(keys.configuration, invocation.database)
        place = url.render_as_string(hide_password=True)
    out.event("store_init", table=name, database=place)
    out.note(f"the table {name} is ready in {place}")
