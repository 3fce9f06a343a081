"""What a migration asks of the key service and of the database: by the batch, never by the row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import (
    Capabilities,
    Context,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyRef,
    OperationError,
    Provider,
    Sealed,
    UnavailableError,
    encode_context,
    hookimpl,
)
from keyhinge_store import (
    MappedColumn,
    MigrationReport,
    NewSecret,
    SecretStore,
    TableMapping,
    migrate,
    rewrap,
)

SIZE = 100
Made = Callable[[KeyManager, int], SecretStore | MappedColumn]


class Service(Provider):
    """A key service that takes batches, and counts what it is asked."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self) -> None:
        self.version = "1"
        self.asked: Counter[str] = Counter()
        self.values: Counter[str] = Counter()
        self.down = 0
        self.lock = threading.Lock()

    def count(self, name: str, values: int) -> None:
        with self.lock:
            self.asked[name] += 1
            self.values[name] += values
            self.down -= 1
            if self.down >= 0:
                raise UnavailableError("away for a moment")

    def seal(self, plaintext: bytes, context: Context) -> Sealed:
        bound = encode_context(context)
        mixed = bytes(byte ^ 0x5A for byte in plaintext)
        return Sealed(len(bound).to_bytes(2, "big") + bound + mixed, "key", self.version)

    def open(self, value: EncryptedValue, context: Context) -> bytes | OperationError:
        size = int.from_bytes(value.ciphertext[:2], "big") + 2
        if value.ciphertext[2:size] != encode_context(context):
            return InvalidCiphertextError()
        return bytes(byte ^ 0x5A for byte in value.ciphertext[size:])

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        self.count("encrypt", 1)
        return self.seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        raise AssertionError("one by one")

    @hookimpl
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        self.count("encrypt", len(items))
        return [self.seal(item.plaintext, item.context) for item in items]

    @hookimpl
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        self.count("decrypt", len(items))
        return [self.open(item.value, item.context) for item in items]

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        self.count("rewrap", len(items))
        return [Sealed(item.value.ciphertext, "key", self.version) for item in items]

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        return KeyRef("key", self.version)


class Single(Service):
    """One that doesn't take batches."""

    keyhinge_encrypt_many = Provider.keyhinge_encrypt_many
    keyhinge_decrypt_many = Provider.keyhinge_decrypt_many
    keyhinge_rewrap_many = Provider.keyhinge_rewrap_many

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        self.count("decrypt", 1)
        opened = self.open(value, context)
        if isinstance(opened, OperationError):
            raise opened
        return opened


class Module:
    """A provider's module that always gives the same service."""

    keyhinge_api = 1

    def __init__(self, service: Service) -> None:
        from keyhinge_plaintext import PlaintextSettings

        self.service = service
        self.keyhinge_settings = PlaintextSettings

    @hookimpl
    def keyhinge_configure(self, settings: Any, section: Any) -> Provider:
        return self.service


@pytest.fixture
def services(request: pytest.FixtureRequest) -> dict[str, Service]:
    kind: type[Service] = getattr(request, "param", Service)
    return {"old": kind(), "new": kind()}


@pytest.fixture
def keys(services: dict[str, Service]) -> Iterator[dict[str, KeyManager]]:
    """A KeyManager for each of the two as primary."""
    modules = {name: Module(service) for name, service in services.items()}
    opened = {
        name: KeyManager.open(
            {"keyManagement": {"provider": name, "old": {}, "new": {}}}, providers=modules
        )
        for name in services
    }
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(database_url)
    yield made
    made.dispose()


def own_table(engine: sa.Engine) -> Made:
    """The store's own table; more rows each time."""

    def make(keys: KeyManager, rows: int) -> SecretStore:
        store = SecretStore(engine, keys)
        store.create_tables()
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM secrets")
        store.put_many(NewSecret(f"a{n % 7}", "k", b"x", f"s{n:05}") for n in range(rows))
        return store

    return make


def mapped_table(engine: sa.Engine) -> Made:
    """An application's table, with a key of two columns and a context."""
    mapping = TableMapping(
        table="token",
        primary_key=("owner", "number"),
        encoding="text",
        columns={"ciphertext": "secret"},
        context={"owner": "owner"},
    )

    def make(keys: KeyManager, rows: int) -> MappedColumn:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS token")
            connection.exec_driver_sql(
                "CREATE TABLE token (owner integer NOT NULL, number integer NOT NULL, secret text, "
                "PRIMARY KEY (owner, number))"
            )
        column = MappedColumn(engine, keys, mapping)
        made = [column.encrypt("x", {"owner": n}) for n in range(7)]
        with engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO token VALUES (:owner, :number, :secret)"),
                [{"owner": n % 7, "number": n, **made[n % 7]} for n in range(rows)],
            )
        return column

    return make


@pytest.fixture(params=[own_table, mapped_table])
def make(request: pytest.FixtureRequest, engine: sa.Engine) -> Made:
    """Makes a table with so many rows under `old`."""
    made: Made = request.param(engine)
    return made


@pytest.fixture
def statements(engine: sa.Engine) -> list[str]:
    """Every statement that is sent."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    return sent


@pytest.fixture
def ask(
    make: Made, keys: dict[str, KeyManager], services: dict[str, Service], statements: list[str]
) -> Callable[..., tuple[MigrationReport, int]]:
    """Moves or rewraps so many rows; gives the report, and how many statements it took."""

    def ask(operation: str, rows: int) -> tuple[MigrationReport, int]:
        services["old"].version = services["new"].version = "1"
        stored = make(keys["old"], rows)
        for service in services.values():
            service.asked.clear()
            service.values.clear()
        statements.clear()
        if operation == "migrate":
            return migrate(stored, keys["new"], batch_size=SIZE), len(statements)
        services["old"].version = "2"
        return rewrap(stored, keys["old"], batch_size=SIZE), len(statements)

    return ask


def counted(report: MigrationReport) -> dict[str, tuple[int, int]]:
    return {name: (calls.batches, calls.values) for name, calls in report.calls.items()}


def test_migrate(ask: Any, services: dict[str, Service]) -> None:
    """For a batch: one call to open, one to encrypt, one to verify, and some statements."""
    sent = []
    for rows in (500, 1500):
        report, number = ask("migrate", rows)
        assert (report.moved, report.complete) == (rows, True)
        batches = rows // SIZE
        assert services["old"].asked == {"decrypt": batches}
        assert services["new"].asked == {"encrypt": batches, "decrypt": batches}
        assert services["new"].values == {"encrypt": rows, "decrypt": rows}
        # What is reported is what was asked.
        assert counted(report) == {"old": (batches, rows), "new": (2 * batches, 2 * rows)}
        sent.append(number)
    check_statements(sent)


def test_rewrap(ask: Any, services: dict[str, Service]) -> None:
    """For a batch: one call to open, one to rewrap, one to verify."""
    sent = []
    for rows in (500, 1500):
        report, number = ask("rewrap", rows)
        assert (report.moved, report.complete) == (rows, True)
        batches = rows // SIZE
        assert services["old"].asked == {"decrypt": 2 * batches, "rewrap": batches}
        assert not services["new"].asked
        assert counted(report) == {"old": (3 * batches, 3 * rows)}
        sent.append(number)
    check_statements(sent)


@pytest.mark.parametrize("services", [Single], indirect=True)
def test_without_batches_each_value_is_a_call(ask: Any, services: dict[str, Service]) -> None:
    """What is reported is what was asked here, too; and so is what a rewrap is made of."""
    report, _ = ask("migrate", 150)
    assert services["old"].asked == {"decrypt": 150}
    assert services["new"].asked == {"encrypt": 150, "decrypt": 150}
    assert counted(report) == {"old": (150, 150), "new": (300, 300)}

    report, _ = ask("rewrap", 150)
    assert services["old"].asked == {"decrypt": 450, "encrypt": 150}
    assert counted(report) == {"old": (600, 600)}


def check_statements(sent: list[int]) -> None:
    """Ten batches more are so many statements more, and a run needs some to begin and end."""
    assert sent[1] - sent[0] <= 10 * 11, sent
    assert sent[0] <= 5 * 11 + 160, sent


def test_what_is_asked_again_is_counted_again(
    make: Made, keys: dict[str, KeyManager], services: dict[str, Service]
) -> None:
    """The report names what was asked, also of a service that was away."""
    stored = make(keys["old"], 200)
    for service in services.values():
        service.asked.clear()
    services["new"].down = 2
    report = migrate(stored, keys["new"], batch_size=SIZE, workers_in_flight=1)
    assert (report.moved, report.complete) == (200, True)
    asked = {name: sum(service.asked.values()) for name, service in services.items()}
    assert asked == {"old": 2, "new": 6}
    assert {name: calls.batches for name, calls in report.calls.items()} == asked
