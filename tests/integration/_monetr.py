"""A table as monetr has it, and a reader and a writer after monetr's rules, with bare clients."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store import TableMapping

COUNT = 60
SCHEMA = """CREATE TABLE secrets (
    secret_id text NOT NULL, account_id text NOT NULL, kind text NOT NULL, key_id text,
    version text, secret text NOT NULL, updated_at text, created_at text,
    PRIMARY KEY (secret_id, account_id))"""
MAPPING = TableMapping(
    table="secrets",
    primary_key=("secret_id", "account_id"),
    encoding="monetr",
    columns={"ciphertext": "secret", "keyID": "key_id", "version": "version"},
    where={"kind": "plaid"},
)
# The last ones look like values of another kind, and aren't.
VALUES = [f"access-tökén-{number}" for number in range(COUNT - 3)]
VALUES += ["vault:v1:AAAA", "0011aabb", "kh1:plaintext:::UA=="]

_INSERT = sa.text(
    "INSERT INTO secrets (secret_id, account_id, kind, secret, key_id, updated_at) "
    "VALUES (:id, 'acct', :kind, :secret, :key, 'then')"
)
_UPDATE = sa.text(
    "UPDATE secrets SET secret = :secret, key_id = :key, updated_at = 'now' WHERE secret_id = :id"
)
_READ = "SELECT secret, key_id, version FROM secrets WHERE kind = 'plaid'"


@attrs.frozen
class Rules:
    """Reads and writes a row as monetr does under one provider."""

    provider: str
    decrypt: Callable[[str, str], str]
    encrypt: Callable[[str], tuple[str, str | None]]

    def read(self, secret: str, key_id: str | None, version: str | None) -> str:
        """Decrypt what stands in a row, with the one provider that there is."""
        assert version is None
        if self.provider == "plaintext":
            assert key_id is None
            return secret
        assert key_id is not None
        return self.decrypt(key_id, secret)


def fill(engine: sa.Engine) -> None:
    """Make the table with plaintexts, and a row of another kind that nobody may touch."""
    with engine.begin() as connection:
        connection.execute(sa.text(SCHEMA))
        for number, value in enumerate(VALUES):
            row = {"id": f"s{number:03}", "kind": "plaid", "secret": value, "key": None}
            connection.execute(_INSERT, row)
        connection.execute(
            _INSERT, {"id": "x", "kind": "other", "secret": "untouched", "key": None}
        )


def read_all(engine: sa.Engine, rules: Rules) -> list[str]:
    """Read every row."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f"{_READ} ORDER BY secret_id")).all()
    return [rules.read(*row) for row in rows]


class Monetr(threading.Thread):
    """monetr at work: reads rows, and inserts, updates and deletes some of its own.

    Attributes:
        last: What it wrote last, by the row's id.
        error: Why it ended by itself; None if it didn't.
        reads: How many rows it read.
        writes: How many rows it wrote.
    """

    def __init__(self, url: str, rules: Rules, last: dict[str, str], seed: int = 1) -> None:
        super().__init__(daemon=True)
        self.last = last
        self.error: BaseException | None = None
        self.reads = self.writes = 0
        self._engine = sa.create_engine(url)
        self._rules = rules
        self._random = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until `stop`."""
        try:
            while not self._ended.is_set():
                self._read()
                self._write()
                time.sleep(self._random.uniform(0, 0.01))
        except BaseException as error:
            self.error = error
        finally:
            self._engine.dispose()

    def stop(self) -> None:
        """End, and raise what went wrong."""
        self._ended.set()
        self.join()
        if self.error is not None:
            raise self.error

    def _read(self) -> None:
        number = self._random.randrange(len(VALUES))
        with self._engine.connect() as connection:
            wanted = sa.text(f"{_READ} AND secret_id = :id")
            row: Any = connection.execute(wanted, {"id": f"s{number:03}"}).one()
        assert self._rules.read(*row) == VALUES[number]
        self.reads += 1

    def _write(self) -> None:
        self.writes += 1
        value = f"written-{self.writes}-{self._random.random()}"
        secret, key = self._rules.encrypt(value)
        name = f"w{self._random.randrange(20):02}"
        row = {"id": name, "kind": "plaid", "secret": secret, "key": key}
        with self._engine.begin() as connection:
            if name in self.last and self._random.random() < 0.2:
                connection.execute(
                    sa.text("DELETE FROM secrets WHERE secret_id = :id"), {"id": name}
                )
                value = ""
            else:
                connection.execute(_UPDATE if name in self.last else _INSERT, row)
        self.last.pop(name, None)
        if value:
            self.last[name] = value
