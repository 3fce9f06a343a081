"""Nothing that the store raises or lets be logged leads to a secret."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import (
    ConfigError,
    InvalidContextError,
    InvalidPlaintextError,
    KeyhingeError,
    KeyManager,
)
from keyhinge_store import (
    AsyncSecretStore,
    DatabaseError,
    DowngradeError,
    DuplicateSecretError,
    NewSecret,
    NotTextError,
    SecretStore,
    StoreError,
    verify,
)
from keyhinge_store import open_store as open_store_of

SECRET = "correct-horse-battery-staple"

OpenKeys = Callable[..., KeyManager]
OpenStore = Callable[..., SecretStore]


def frames_with_secret(error: BaseException) -> list[str]:
    """Name the variables of the library's frames that show the secret."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "keyhinge" in code.co_filename and "/tests/" not in code.co_filename:
            for name, value in trace.tb_frame.f_locals.items():
                if shows_secret(value):
                    found.append(f"{code.co_name}: {name}")
        trace = trace.tb_next
    return found


def shows_secret(value: object, depth: int = 6) -> bool:
    """Look for the secret in a value, and in what it consists of."""
    if isinstance(value, (str, bytes)):
        return SECRET in value if isinstance(value, str) else SECRET.encode() in value
    if depth == 0:
        return False
    parts: list[object] = []
    if isinstance(value, dict):
        parts += value.values()
    elif isinstance(value, (list, tuple, set)):
        parts += value
    else:
        parts += vars(value).values() if hasattr(value, "__dict__") else []
        names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        parts += [getattr(value, name, None) for name in names]
    return any(shows_secret(part, depth - 1) for part in parts)


@contextmanager
def refusing_trigger(engine: sa.Engine) -> Iterator[None]:
    """Make the database refuse every new row, and print it if it can."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                sa.text(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'no: %', NEW; END $$"
                )
            )
            action = "EXECUTE FUNCTION refuse()"
            connection.exec_driver_sql(
                f"CREATE TRIGGER refusal BEFORE INSERT ON secrets FOR EACH ROW {action}"
            )
        else:
            connection.exec_driver_sql(
                "CREATE TRIGGER refusal BEFORE INSERT ON secrets "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
    yield


def test_no_frame_of_the_store_shows_a_secret(open_keys: OpenKeys, open_store: OpenStore) -> None:
    store = open_store(open_keys("one"))
    plain = open_store(open_keys("plaintext"))
    known = store.put(account_id="a", kind="k", value=SECRET)
    binary = store.put(account_id="b", kind="k", value=SECRET.encode() + b"\xff", secret_id="x")
    store.put(account_id="c", kind="k", value=SECRET, secret_id="x")
    untyped: Any = {"account_id": "a", "kind": "k", "value": SECRET}
    twice = [NewSecret("a", "k", SECRET, "same")] * 2
    calls: list[tuple[type[KeyhingeError], Callable[[], object]]] = [
        (InvalidContextError, lambda: store.put(account_id="\0", kind="k", value=SECRET)),
        (
            InvalidPlaintextError,
            lambda: store.put(account_id="a", kind="k", value=SECRET + "\ud800"),
        ),
        (DuplicateSecretError, lambda: store.put_many(twice)),
        (StoreError, lambda: store.put_many([untyped])),
        (
            DowngradeError,
            lambda: plain.put(account_id="a", kind="k", value=SECRET, secret_id=known),
        ),
        (NotTextError, lambda: store.get_text(account_id="b", secret_id=binary)),
        (DuplicateSecretError, lambda: store.rebind("c", "b")),
        (DowngradeError, lambda: plain.rebind("c", "d")),
    ]
    for expected, call in calls:
        with pytest.raises(expected) as caught:
            call()
        assert frames_with_secret(caught.value) == [], expected
        assert caught.value.__context__ is None


def test_no_frame_shows_what_the_database_refused(
    open_keys: OpenKeys, open_store: OpenStore
) -> None:
    store = open_store(open_keys("plaintext"))
    with refusing_trigger(store.engine), pytest.raises(DatabaseError) as caught:
        store.put(account_id="a", kind="k", value=SECRET)
    assert frames_with_secret(caught.value) == []
    assert caught.value.__context__ is None


def test_no_frame_shows_a_secret_in_an_event_loop(open_keys: OpenKeys, database_url: str) -> None:
    async def main() -> BaseException:
        store = AsyncSecretStore(database_url, open_keys("one"))
        await store.create_tables()
        await store.put(account_id="a", kind="k", value=SECRET.encode() + b"\xff", secret_id="x")
        with pytest.raises(NotTextError) as caught:
            await store.get_text(account_id="a", secret_id="x")
        await store.close()
        return caught.value

    assert frames_with_secret(asyncio.run(main())) == []


def test_the_library_tells_frames_that_show_a_secret() -> None:
    """The search itself: an error of core's, raised where its caller's frame is ours to see."""
    secret_here: dict[str, Any] = {"deep": [NewSecret("a", "k", SECRET)]}
    assert shows_secret(secret_here)
    assert not shows_secret({"deep": [NewSecret("a", "k", "other")]})


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_log_at_debug_shows_no_value(
    kind: str, open_keys: OpenKeys, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = open_keys("plaintext")
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy.engine", "sqlalchemy.pool"):
        caplog.set_level(logging.DEBUG, logger=name)

    def use() -> None:
        store = SecretStore(database_url, keys)
        store.create_tables()
        made = store.put(account_id="a", kind="k", value=SECRET)
        assert store.get_text(account_id="a", secret_id=made) == SECRET
        store.close()

    async def ause() -> None:
        store = AsyncSecretStore(database_url, keys)
        await store.create_tables()
        made = await store.put(account_id="a", kind="k", value=SECRET)
        assert await store.get_text(account_id="a", secret_id=made) == SECRET
        await store.close()

    if kind == "sync":
        use()
    else:
        asyncio.run(ause())
    assert "INSERT INTO secrets" in caplog.text  # statements are logged …
    stored = base64.b64encode(b"P" + SECRET.encode()).decode()
    assert stored not in caplog.text  # … and neither what was sent
    assert "kh1:plaintext:::" not in caplog.text  # nor what came back


def test_verify_leaves_no_frame_with_plaintexts(
    open_keys: OpenKeys, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = open_keys("one")
    store = open_store(keys)
    store.put_many([NewSecret("a", "k", SECRET) for _ in range(2)])
    real = keys.decrypt_many

    def away(items: Any) -> list[Any]:
        from keyhinge import Outcome, UnavailableError

        return [*real(items)[:-1], Outcome(error=UnavailableError("is away", section="one"))]

    monkeypatch.setattr(keys, "decrypt_many", away)
    with pytest.raises(KeyhingeError) as caught:
        verify(store)
    assert frames_with_secret(caught.value) == []


def test_no_frame_shows_a_databases_password_or_the_environment(
    open_keys: OpenKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = open_keys("one")
    broken = f"postgresql://app:{SECRET}@host:notaport/app"
    monkeypatch.setenv("KEYHINGE_DATABASE", broken)
    calls: list[Callable[[], object]] = [
        lambda: open_store_of(keys),
        lambda: SecretStore(broken, keys),
        lambda: AsyncSecretStore(broken, keys),
        lambda: SecretStore(f"nodb+driver://app:{SECRET}@host/app", keys),
    ]
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call()
        assert SECRET not in str(caught.value)
        assert frames_with_secret(caught.value) == []
