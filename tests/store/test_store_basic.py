"""Putting, getting, listing and deleting, on both databases."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Generator

import pytest
import sqlalchemy as sa

from keyhinge import (
    InvalidContextError,
    InvalidPlaintextError,
    KeyManager,
    Operation,
    Result,
    hookimpl,
)
from keyhinge_store import (
    DowngradeError,
    DuplicateSecretError,
    NewSecret,
    NotTextError,
    SecretKey,
    SecretNotFoundError,
    SecretStore,
    StoreError,
)


class TestPutAndGet:
    def test_round_trip(self, store: SecretStore) -> None:
        """Text and bytes come back; the id was made."""
        secret_id = store.put(account_id="acct_1", kind="plaid", value="tökén")

        assert secret_id.startswith("sec_")
        assert store.get(account_id="acct_1", secret_id=secret_id) == "tökén".encode()
        assert store.get_text(account_id="acct_1", secret_id=secret_id) == "tökén"

    @pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"x" * 100_000])
    def test_bytes(self, store: SecretStore, value: bytes) -> None:
        secret_id = store.put(account_id="acct_1", kind="blob", value=value)

        assert store.get(account_id="acct_1", secret_id=secret_id) == value

    def test_bytes_are_not_text(self, store: SecretStore) -> None:
        secret_id = store.put(account_id="a", kind="k", value=b"\xff secret")

        with pytest.raises(NotTextError) as caught:
            store.get_text(account_id="a", secret_id=secret_id)

        assert caught.value.__context__ is None

    def test_only_ciphertext_is_stored(self, store: SecretStore) -> None:
        store.put(account_id="acct_1", kind="plaid", value="very-secret-token")

        with store.engine.connect() as connection:
            [row] = connection.execute(sa.select(store.layout.table)).mappings()
        assert row["secret"].startswith("kh1:one:")
        assert "very-secret-token" not in str(dict(row))
        assert (row["section"], row["kind"]) == ("one", "plaid")
        assert row["encrypted_at"] == row["created_at"] == row["updated_at"]
        assert row["created_at"].utcoffset().total_seconds() == 0

    def test_missing(self, store: SecretStore) -> None:
        with pytest.raises(SecretNotFoundError, match="'acct_1' has no secret 'sec_x'"):
            store.get(account_id="acct_1", secret_id="sec_x")

    def test_the_caller_may_choose_the_id(self, store: SecretStore) -> None:
        assert store.put(account_id="a", kind="k", value="v", secret_id="mine") == "mine"
        assert store.get_text(account_id="a", secret_id="mine") == "v"

    def test_an_existing_id_is_updated(self, store: SecretStore) -> None:
        """Value and kind change, `created_at` stays, and there is one row."""
        store.put(account_id="a", kind="old", value="1", secret_id="s")
        [before] = store.list()
        time.sleep(0.002)
        store.put(account_id="a", kind="new", value="2", secret_id="s")

        [after] = store.list()
        assert store.get_text(account_id="a", secret_id="s") == "2"
        assert after.kind == "new"
        assert after.created_at == before.created_at
        assert after.updated_at > before.updated_at
        assert after.encrypted_at > before.encrypted_at

    def test_two_accounts_may_have_the_same_id(self, store: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="1", secret_id="s")
        store.put(account_id="b", kind="k", value="2", secret_id="s")

        assert store.get_text(account_id="a", secret_id="s") == "1"
        assert store.get_text(account_id="b", secret_id="s") == "2"

    def test_delete(self, store: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="1", secret_id="s")

        store.delete(account_id="a", secret_id="s")

        with pytest.raises(SecretNotFoundError):
            store.get(account_id="a", secret_id="s")
        with pytest.raises(SecretNotFoundError):
            store.delete(account_id="a", secret_id="s")


class Kind(str, enum.Enum):
    """What many applications have; drivers don't agree about what it is in the database."""

    PLAID = "plaid"


class TestHostileInput:
    @pytest.mark.parametrize(
        "bad", ["", "a\0b", "\ud800", "x" * 1025, None, 7, b"bytes"], ids=ascii
    )
    @pytest.mark.parametrize("field", ["account_id", "kind", "secret_id"])
    def test_ids_and_kinds(self, store: SecretStore, field: str, bad: object) -> None:
        """They are refused with their name, before anything is encrypted or written."""
        given = {"account_id": "a", "kind": "k", "secret_id": "s", field: bad}
        if field == "secret_id" and bad is None:
            return  # means: make one

        with pytest.raises(InvalidContextError, match=field):
            store.put(value="v", **given)  # type: ignore[arg-type]

        assert store.list() == []

    @pytest.mark.parametrize("bad", ["", "a\0b", "\ud800", "x" * 1025, Kind.PLAID], ids=ascii)
    def test_reading(self, store: SecretStore, bad: str) -> None:
        for call in (store.get, store.delete):
            with pytest.raises(InvalidContextError):
                call(account_id=bad, secret_id="s")
        with pytest.raises(InvalidContextError):
            store.get_many([("a", bad)])
        with pytest.raises(InvalidContextError):
            store.list(account_id=bad)
        with pytest.raises(InvalidContextError):
            store.rebind("a", bad)

    @pytest.mark.parametrize(
        "odd", ["'; DROP TABLE secrets; --", "%s", ":x", "{}", "a\nb", "ä" * 500, " ", "\\", "🔑"]
    )
    def test_odd_but_allowed(self, store: SecretStore, odd: str) -> None:
        store.put(account_id=odd, kind=odd, value=odd, secret_id=odd)

        assert store.get_text(account_id=odd, secret_id=odd) == odd
        assert store.rebind(odd, "new") == 1
        assert store.get_text(account_id="new", secret_id=odd) == odd

    @pytest.mark.parametrize("value", ["\ud800", 7, None, ["x"]], ids=ascii)
    def test_values(self, store: SecretStore, value: object) -> None:
        with pytest.raises(InvalidPlaintextError) as caught:
            store.put(account_id="a", kind="k", value=value)  # type: ignore[arg-type]

        assert caught.value.__context__ is None


class TestMany:
    @pytest.mark.parametrize("wrong", [{"account_id": "a"}, ("a", "k", "v"), None])
    def test_what_is_no_new_secret(self, store: SecretStore, wrong) -> None:
        good = NewSecret("a", "k", "v")
        with pytest.raises(StoreError, match=f"NewSecret.*not {type(wrong).__name__}"):
            store.put_many([good, wrong])
        assert store.list() == []

    def test_round_trip(self, store: SecretStore) -> None:
        ids = store.put_many(NewSecret("a", "k", f"value {n}") for n in range(1500))

        found = store.get_many(("a", secret_id) for secret_id in ids)
        assert [secret_id for _, secret_id in found] == ids
        assert [outcome.value for outcome in found.values()] == [
            f"value {n}".encode() for n in range(1500)
        ]

    def test_missing_ones_are_missing(self, store: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="v", secret_id="s")

        found = store.get_many([("a", "s"), ("a", "none"), ("b", "s")])

        assert list(found) == [SecretKey("a", "s")]

    def test_nothing(self, store: SecretStore) -> None:
        assert store.put_many([]) == []
        assert store.get_many([]) == {}

    def test_the_same_key_twice(self, store: SecretStore) -> None:
        with pytest.raises(DuplicateSecretError):
            store.put_many([NewSecret("a", "k", "1", "s"), NewSecret("a", "k", "2", "s")])

    def test_all_or_none(self, store: SecretStore) -> None:
        with pytest.raises(InvalidContextError):
            store.put_many([NewSecret("a", "k", "1", "s"), NewSecret("a", "", "2", "t")])

        assert store.list() == []

    def test_it_updates_too(self, store: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="1", secret_id="s")
        store.put_many([NewSecret("a", "k2", "2", "s"), NewSecret("a", "k", "3", "t")])

        found = store.get_many([("a", "s"), ("a", "t")])
        assert [found["a", "s"].value, found["a", "t"].value] == [b"2", b"3"]

    def test_repr_hides_the_value(self) -> None:
        assert "hunter2" not in repr(NewSecret("a", "k", "hunter2"))


class TestListing:
    def test_find_and_list(self, store: SecretStore) -> None:
        for account, kind, secret_id in [("b", "x", "3"), ("a", "x", "2"), ("a", "y", "1")]:
            store.put(account_id=account, kind=kind, value="v", secret_id=secret_id)

        assert [info.key for info in store.list()] == [("a", "1"), ("a", "2"), ("b", "3")]
        assert [info.key for info in store.list(account_id="a")] == [("a", "1"), ("a", "2")]
        assert [info.key for info in store.find(account_id="a", kind="x")] == [("a", "2")]
        assert [info.key for info in store.list(kind="x")] == [("a", "2"), ("b", "3")]

    def test_pages(self, store: SecretStore) -> None:
        store.put_many(NewSecret(f"a{n % 3}", "k", "v", f"s{n:02}") for n in range(20))
        pages, after = [], None
        while page := store.list(after=after, limit=7):
            pages += page
            after = page[-1].key

        assert [info.key for info in pages] == [info.key for info in store.list()]
        assert len(pages) == 20


class TestRebind:
    def test_an_account_moves(self, store: SecretStore) -> None:
        store.put_many(NewSecret("old", "k", f"v{n}", f"s{n}") for n in range(10))
        store.put(account_id="other", kind="k", value="stays", secret_id="s0")

        assert store.rebind("old", "new") == 10
        assert store.list(account_id="old") == []
        assert store.get_text(account_id="new", secret_id="s7") == "v7"
        assert store.get_text(account_id="other", secret_id="s0") == "stays"

    def test_a_taken_id(self, store: SecretStore) -> None:
        store.put_many([NewSecret("old", "k", "1", "s"), NewSecret("old", "k", "2", "t")])
        store.put(account_id="new", kind="k", value="3", secret_id="t")

        with pytest.raises(DuplicateSecretError, match="nothing was moved"):
            store.rebind("old", "new")

        assert store.get_text(account_id="old", secret_id="s") == "1"
        assert store.get_text(account_id="new", secret_id="t") == "3"

    def test_nothing_to_do(self, store: SecretStore) -> None:
        assert store.rebind("old", "new") == 0
        assert store.rebind("same", "same") == 0

    def test_a_change_meanwhile_is_kept(
        self, store: SecretStore, open_keys: Callable[..., KeyManager], database_url: str
    ) -> None:
        """A write between reading and moving is found out, and the move is done again."""
        store.put(account_id="old", kind="k", value="1", secret_id="s")
        mover = SecretStore(database_url, open_keys("one", observers=[Meddler(store)]))

        assert mover.rebind("old", "new") == 1

        assert store.get_text(account_id="new", secret_id="s") == "2"
        mover.close()


class Meddler:
    """An observer that writes once while somebody else decrypts."""

    def __init__(self, store: SecretStore) -> None:
        self.store: SecretStore | None = store

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation: Operation) -> Generator[None, Result, Result]:
        if operation.name == "decrypt_many" and self.store is not None:
            store, self.store = self.store, None
            store.put(account_id="old", kind="k", value="2", secret_id="s")
        return (yield)


class TestDowngrade:
    @pytest.fixture
    def plain(
        self, open_store: Callable[..., SecretStore], open_keys: Callable[..., KeyManager]
    ) -> SecretStore:
        return open_store(open_keys("plaintext"))

    def test_encrypted_stays_encrypted(self, store: SecretStore, plain: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="secret", secret_id="s")

        with pytest.raises(DowngradeError, match="allow_downgrade"):
            plain.put(account_id="a", kind="k", value="open", secret_id="s")
        with pytest.raises(DowngradeError):
            plain.put_many([NewSecret("a", "k", "x", "new"), NewSecret("a", "k", "y", "s")])

        assert store.get_text(account_id="a", secret_id="s") == "secret"
        assert len(store.list()) == 1

    def test_unless_it_is_allowed(self, store: SecretStore, plain: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="secret", secret_id="s")

        plain.put(account_id="a", kind="k", value="open", secret_id="s", allow_downgrade=True)

        assert plain.get_text(account_id="a", secret_id="s") == "open"

    def test_plaintext_over_plaintext(self, plain: SecretStore) -> None:
        plain.put(account_id="a", kind="k", value="1", secret_id="s")
        plain.put(account_id="a", kind="k", value="2", secret_id="s")

        assert plain.get_text(account_id="a", secret_id="s") == "2"

    def test_rebind(self, store: SecretStore, plain: SecretStore) -> None:
        """Moving an account isn't a way around it."""
        plain.put(account_id="old", kind="k", value="open", secret_id="p")
        assert plain.rebind("old", "new") == 1
        store.put(account_id="new", kind="k", value="secret", secret_id="s")

        with pytest.raises(DowngradeError):
            plain.rebind("new", "newer")

        assert store.get_text(account_id="new", secret_id="s") == "secret"
        assert plain.rebind("new", "newer", allow_downgrade=True) == 2
        assert "secret" in plain.get_text(account_id="newer", secret_id="s")

    def test_a_false_label_does_not_open_the_way(
        self, store: SecretStore, plain: SecretStore
    ) -> None:
        """The label says plaintext, the value doesn't: it counts as encrypted."""
        store.put(account_id="a", kind="k", value="secret", secret_id="s")
        with store.engine.begin() as connection:
            connection.execute(sa.update(store.layout.table).values(section="plaintext"))

        with pytest.raises(DowngradeError):
            plain.put(account_id="a", kind="k", value="open", secret_id="s")
