"""Mapped tables in the configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager
from keyhinge_store import migrate, open_stored, open_tables, status, store_settings, verify

HEAD = "keyManagement: {provider: plaintext, plaintext: {}}\nstore:\n  url: sqlite:///app.db\n"
GOOD = """  tables:
    - table: tokens
      primaryKey: [account_id, token_id]
      encoding: text
      columns: {ciphertext: secret}
      context: {account: account_id, token: token_id}
      where: {kind: [plaid, 7]}
      adopt: plaintext
    - table: tokens
      columnLabel: pin
      label: tokens
      primaryKey: [account_id, token_id]
      encoding: columns
      columns: {ciphertext: p, section: s, keyID: k, version: v}
      encryptedAt: at
"""

Open = Callable[[str], KeyManager]


@pytest.fixture
def open_file(tmp_path: Path) -> Open:
    """Writes a configuration and opens it."""

    def make(text: str) -> KeyManager:
        path = tmp_path / "config.yaml"
        path.write_text(HEAD + text)
        return KeyManager.open(path, environ={})

    return make


def test_what_the_file_says(open_file: Open) -> None:
    with open_file(GOOD) as keys:
        first, second = (each.mapping() for each in store_settings(keys.configuration).tables)
    assert first.primary_key == ("account_id", "token_id")
    assert first.columns == {"ciphertext": "secret"}
    assert first.context == {"account": "account_id", "token": "token_id"}
    assert (first.where, first.adopt) == ({"kind": ["plaid", 7]}, "plaintext")
    assert second.columns == {"ciphertext": "p", "section": "s", "keyID": "k", "version": "v"}
    assert (second.label, second.column_label, second.encrypted_at) == ("tokens", "pin", "at")


def test_every_problem_with_its_path(open_file: Open) -> None:
    text = """  tables:
    - {table: a, primaryKey: [id], encoding: rot13, columns: {ciphertext: c}}
    - {primaryKey: [id], encoding: text, columns: {ciphertext: c, kyeID: k}}
    - {table: c, primaryKey: [], encoding: text, columns: {ciphertext: c, section: s}}
"""
    with open_file(text) as keys, pytest.raises(ConfigError) as caught:
        open_tables(keys, environ={})
    assert sorted(problem.path for problem in caught.value.problems) == [
        "store.tables[0].encoding",
        "store.tables[1].columns.kyeID",
        "store.tables[1].table",
        "store.tables[2].columns",
        "store.tables[2].primaryKey",
    ]
    assert all(problem.line for problem in caught.value.problems)


def test_the_same_column_twice(open_file: Open) -> None:
    entry = "    - {table: a, primaryKey: [id], encoding: text, columns: {ciphertext: c}}\n"
    with open_file("  tables:\n" + 2 * entry) as keys, pytest.raises(ConfigError, match="same"):
        open_tables(keys, environ={})


def test_no_tables(open_file: Open) -> None:
    with open_file("") as keys, pytest.raises(ConfigError, match="no tables"):
        open_tables(keys, environ={})


@pytest.mark.parametrize("tables", ["[]", "", "{}"])
def test_an_empty_list_does_not_mean_the_stores_own(open_file: Open, tables: str) -> None:
    with open_file(f"  tables: {tables}\n") as keys, pytest.raises(ConfigError, match="tables"):
        open_stored(keys, environ={})


def test_open_and_use(open_file: Open, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE tokens (account_id integer NOT NULL, token_id text NOT NULL, kind text,"
            " secret text, s text, k text, v text, p text, at text,"
            " PRIMARY KEY (account_id, token_id))"
        )
        connection.exec_driver_sql(
            "INSERT INTO tokens (account_id, token_id, kind, secret) VALUES (1, 't', '7', 'open')"
        )
    engine.dispose()
    with open_file(GOOD) as keys, open_tables(keys, environ={}) as tables:
        assert len(tables) == 2
        assert [layout.name for layout in tables.layouts] == ["tokens.secret", "tokens.pin"]
        assert [table.plaintexts for table in status(tables).tables] == [1, 0]
        report = migrate(tables.column("tokens", "secret"), allow_plaintext=True)
        assert report.moved == 1
        assert verify(tables).opened == 1
