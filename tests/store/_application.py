"""An application with a table of its own, two encrypted columns in it, and every bad habit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from keyhinge_store import TableMapping, Tables

__all__ = ["CREATE", "MAPPINGS", "Application", "Held", "audit", "opened", "read_all"]

T = TypeVar("T")

CREATE = (
    "CREATE TABLE token (account {text} NOT NULL, number bigint NOT NULL, kind {text} NOT NULL, "
    "access {bytes} NOT NULL, access_section {text} NOT NULL, access_key {text} NOT NULL, "
    "access_version {text} NOT NULL, refresh {text}, uses bigint NOT NULL DEFAULT 0, "
    "PRIMARY KEY (number, account))"
)
CONTEXT = {"owner": "account", "kind": "kind"}
ACCESS = {
    "ciphertext": "access",
    "section": "access_section",
    "keyID": "access_key",
    "version": "access_version",
}
MAPPINGS = [
    TableMapping(
        table="token",
        primary_key=("number", "account"),
        encoding="columns",
        columns=ACCESS,
        context=CONTEXT,
    ),
    TableMapping(
        table="token",
        primary_key=("number", "account"),
        encoding="text",
        columns={"ciphertext": "refresh"},
        context=CONTEXT,
    ),
]
KINDS = ("one", "two", "three")


@attrs.frozen
class Held:
    """What a row has to hold."""

    kind: str
    access: bytes
    refresh: bytes | None
    uses: int


class Application(threading.Thread):
    """Writes rows of an account of its own, and remembers what it wrote last.

    It inserts, updates and deletes; changes columns of the context, and encrypts anew when it does;
    changes a column that no mapping names; gives rows other keys; saves whole rows that it has read
    a moment before; and writes two rows in one transaction, in the reverse order of their keys,
    which is how deadlocks are made. Each read must give what it wrote last.

    What befalls all connections, or the key service, it tries again; whatever it does may be done
    twice. Anything else ends it, a deadlock above all.
    """

    def __init__(self, number: int, tables: Tables, *, pairs: bool) -> None:
        super().__init__(daemon=True)
        self.account = f"writer_{number}"
        self.tables = tables
        self.access, self.refresh = tables.columns
        self.pairs = pairs
        self.random = random.Random(number)
        self.last: dict[int, Held] = {}
        self.numbers = iter(range(number, 10**9, 17))
        self.error: BaseException | None = None
        self.writes = 0
        self.interrupted = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Write until told to end."""
        try:
            while not self.ended.is_set():
                self.write()
                self.writes += 1
                time.sleep(self.random.uniform(0, 0.004))
        except BaseException as error:
            self.error = error

    def seed(self, count: int) -> None:
        """Insert rows."""
        rows = {next(self.numbers) * 1000: self.held() for _ in range(count)}
        self.save(rows)

    def write(self) -> None:
        """Do one of the things that it does."""
        numbers = sorted(self.last)
        some = self.random.choice(numbers)
        choice = self.random.randrange(10)
        if choice == 0:
            # Anywhere among the others, behind a migration or before it.
            self.save({self.random.choice(numbers) + self.random.randrange(1, 900): self.held()})
        elif choice == 1 and len(numbers) > 5:
            self.delete(some)
        elif choice == 2:
            self.renumber(some, self.random.choice(numbers) + self.random.randrange(1, 900))
        elif choice in (3, 4):
            self.use(some)
        elif choice == 5:
            self.save_as_read(some)
        elif choice in (6, 7) and self.pairs:
            first, second = sorted(self.random.sample(numbers, 2))
            self.save({second: self.held(), first: self.held()})
        elif choice == 8:
            self.read(some)
        else:
            self.save({some: self.held()})

    def held(self) -> Held:
        """Make up what a row holds."""
        access = self.random.randbytes(self.random.choice((1, 20, 300)))
        refresh = self.random.randbytes(20) if self.random.random() < 0.8 else None
        return Held(self.random.choice(KINDS), access, refresh, self.random.randrange(1000))

    def cells(self, number: int, held: Held) -> dict[str, Any]:
        """Encrypt what a row holds. No transaction is open meanwhile."""
        row: dict[str, Any] = {"account": self.account, "number": number, "kind": held.kind}
        made = self.again(lambda: self.access.encrypt(held.access, row))
        made["refresh"] = None
        if held.refresh is not None:
            refresh = held.refresh
            made |= self.again(lambda: self.refresh.encrypt(refresh, row))
        return {**row, **made, "uses": held.uses}

    def save(self, rows: dict[int, Held]) -> None:
        """Insert or replace rows, in this order, in one transaction."""
        self.execute(UPSERT, [self.cells(number, held) for number, held in rows.items()])
        self.last.update(rows)

    def save_as_read(self, number: int) -> None:
        """Lock a row, read it, and write all of it back, whatever it holds: nothing changes."""

        def work(connection: sa.Connection) -> None:
            lock = "" if connection.dialect.name == "sqlite" else " FOR UPDATE"
            wanted = sa.text(READ + lock)
            row = connection.execute(wanted, {"account": self.account, "number": number})
            connection.execute(sa.text(UPSERT), dict(row.mappings().one()))

        self.transact(work)

    def delete(self, number: int) -> None:
        """Delete a row."""
        self.execute(DELETE, [{"account": self.account, "number": number}])
        del self.last[number]

    def renumber(self, number: int, new: int) -> None:
        """Give a row another key."""
        if new not in self.last:
            self.execute(RENUMBER, [{"account": self.account, "number": number, "new": new}])
            self.last[new] = self.last.pop(number)

    def use(self, number: int) -> None:
        """Change what no mapping names."""
        held = attrs.evolve(self.last[number], uses=self.last[number].uses + 1)
        given = {"account": self.account, "number": number, "uses": held.uses}
        self.execute(USE, [given])
        self.last[number] = held

    def read(self, number: int) -> None:
        """Read a row: it holds what it should, whether it was moved or not."""

        def work(connection: sa.Connection) -> dict[str, Any]:
            given = {"account": self.account, "number": number}
            return dict(connection.execute(sa.text(READ), given).mappings().one())

        row = self.transact(work)
        assert self.again(lambda: opened(self.tables, row)) == self.last[number]

    def execute(self, statement: str, rows: list[dict[str, Any]]) -> None:
        """Run a statement for some rows, one after the other, in one transaction."""

        def work(connection: sa.Connection) -> None:
            for row in rows:
                connection.execute(sa.text(statement), row)

        self.transact(work)

    def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Do something in a transaction, and again if that was cut off."""

        def begin() -> T:
            with self.tables.engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                result = work(connection)
                connection.commit()
                return result

        return self.again(begin)

    def again(self, work: Callable[[], T]) -> T:
        """Do something, and again while it can't be done; a deadlock is nobody's fault but ours."""
        end = time.monotonic() + 60
        while True:
            try:
                return work()
            except Exception as error:
                state = getattr(getattr(error, "orig", None), "sqlstate", None)
                lost = isinstance(error, sa.exc.OperationalError) and state != "40P01"
                lost = lost or getattr(error, "retryable", False) is True
                if not lost or time.monotonic() > end:
                    raise
                self.interrupted += 1
                time.sleep(0.05)


COLUMNS = ("account", "number", "kind", *ACCESS.values(), "refresh", "uses")
READ = f"SELECT {', '.join(COLUMNS)} FROM token WHERE account = :account AND number = :number"
UPSERT = (
    f"INSERT INTO token ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)}) "
    "ON CONFLICT (number, account) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[2:])
)
DELETE = "DELETE FROM token WHERE account = :account AND number = :number"
RENUMBER = "UPDATE token SET number = :new WHERE account = :account AND number = :number"
USE = "UPDATE token SET uses = :uses WHERE account = :account AND number = :number"


def opened(tables: Tables, row: dict[str, Any]) -> Held:
    """Decrypt a row."""
    access, refresh = (column.decrypt(row) for column in tables.columns)
    assert access is not None
    return Held(row["kind"], access, refresh, row["uses"])


def read_all(tables: Tables) -> dict[str, dict[int, Held]]:
    """Decrypt every row, by account and number."""
    with tables.engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT {', '.join(COLUMNS)} FROM token")).mappings()
        found: dict[str, dict[int, Held]] = {}
        for row in rows.all():
            numbers = found.setdefault(row["account"], {})
            assert row["number"] not in numbers
            numbers[row["number"]] = opened(tables, dict(row))
    return found


# In PostgreSQL: each value that a migrating process has replaced, and what it is under now.
AUDIT_TABLE = (
    "CREATE TABLE audit (id bigserial, account text, number bigint, what text, section text)"
)
AUDIT_FUNCTION = """CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF new.access IS DISTINCT FROM old.access THEN
    INSERT INTO audit (account, number, what, section)
        VALUES (new.account, new.number, 'access', new.access_section);
END IF;
IF new.refresh IS DISTINCT FROM old.refresh THEN
    INSERT INTO audit (account, number, what, section)
        VALUES (new.account, new.number, 'refresh', split_part(new.refresh, ':', 2));
END IF;
RETURN NULL; END $$"""
AUDIT_TRIGGER = """CREATE TRIGGER audit AFTER UPDATE ON token FOR EACH ROW
WHEN (current_setting('application_name') = 'migrator') EXECUTE FUNCTION audit()"""


def audit(engine: sa.Engine) -> None:
    """Let the database write down each value that a migrating process replaces."""
    with engine.begin() as connection:
        for statement in (AUDIT_TABLE, AUDIT_FUNCTION, AUDIT_TRIGGER):
            connection.exec_driver_sql(statement)
