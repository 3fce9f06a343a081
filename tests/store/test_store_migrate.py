"""Moving values between sections, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import NewSecret, SecretStore, migrate

OpenKeys = Callable[..., KeyManager]
OpenStore = Callable[..., SecretStore]


def fill(store: SecretStore, count: int) -> dict[tuple[str, str], bytes]:
    secrets = [
        NewSecret(f"acct_{n % 17}", f"kind_{n % 3}", f"PLAIN-{n}-tökén", f"s{n:05}")
        for n in range(count)
    ]
    store.put_many(secrets)
    return {(s.account_id, str(s.secret_id)): str(s.value).encode() for s in secrets}


def everything(store: SecretStore) -> dict[tuple[str, str], bytes]:
    keys = [info.key for info in store.list()]
    return {tuple(key): outcome.value for key, outcome in store.get_many(keys).items()}  # type: ignore[misc]


def dump(store: SecretStore) -> str:
    with store.engine.connect() as connection:
        return str(connection.execute(sa.select(store.layout.table)).all())


class TestTheWholeWay:
    def test_plaintext_to_local_to_local_to_plaintext(
        self, open_store: OpenStore, open_keys: OpenKeys
    ) -> None:
        """1,000 secrets survive every move; after the first no plaintext is in the table."""
        store = open_store(open_keys("plaintext"))
        written = fill(store, 1000)
        assert "PLAIN" not in dump(store)  # base64, so look for what it really is
        labels = {info.key: (info.created_at, info.updated_at) for info in store.list()}

        for target in ("one", "two"):
            keys = open_keys(target)
            report = migrate(store, keys)
            assert (report.moved, report.left, report.failed) == (1000, 0, 0)
            assert report.settled
            assert {info.section for info in store.list()} == {target}
            assert "kh1:plaintext" not in dump(store)
            assert everything(open_store(keys)) == written

        keys = open_keys("plaintext")
        report = migrate(store, keys, allow_plaintext=True)
        assert (report.moved, report.left) == (1000, 0)
        assert everything(open_store(keys)) == written
        assert {i.key: (i.created_at, i.updated_at) for i in store.list()} == labels
