"""A value opens in its own place and nowhere else."""

from __future__ import annotations

import pytest

from keyhinge import (
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    SectionNotConfiguredError,
)
from keyhinge_store import SecretStore, migrate, verify


@pytest.fixture
def filled(store: SecretStore) -> SecretStore:
    """A store with a secret `s` of `a`, and others that its value may be copied to."""
    for account, kind, secret_id in [("a", "k", "s"), ("a", "k", "t"), ("b", "k", "s")]:
        store.put(
            account_id=account, kind=kind, value=f"{account}/{secret_id}", secret_id=secret_id
        )
    return store


COPY = """UPDATE secrets SET secret = (SELECT secret FROM secrets AS o
          WHERE o.account_id = 'a' AND o.secret_id = 's')"""


class TestCopies:
    def test_to_another_row(self, filled: SecretStore, database) -> None:
        database.execute(f"{COPY} WHERE account_id = 'a' AND secret_id = 't'")

        with pytest.raises(InvalidCiphertextError, match="another row"):
            filled.get(account_id="a", secret_id="t")
        assert filled.get(account_id="a", secret_id="s") == b"a/s"

    def test_to_another_account(self, filled: SecretStore, database) -> None:
        database.execute(f"{COPY} WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError):
            filled.get(account_id="b", secret_id="s")

    def test_a_renamed_row(self, filled: SecretStore, database) -> None:
        database.execute("UPDATE secrets SET secret_id = 'x' WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError):
            filled.get(account_id="b", secret_id="x")

    def test_another_kind(self, filled: SecretStore, database) -> None:
        database.execute("UPDATE secrets SET kind = 'other' WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError):
            filled.get(account_id="b", secret_id="s")

    def test_to_another_table(self, filled: SecretStore, open_store, database) -> None:
        other = open_store(filled.keys, table="other_secrets")
        database.execute("INSERT INTO other_secrets SELECT * FROM secrets")

        with pytest.raises(InvalidCiphertextError):
            other.get(account_id="a", secret_id="s")

    def test_a_renamed_table_keeps_its_label(
        self, filled: SecretStore, open_store, open_keys, database
    ) -> None:
        database.execute("ALTER TABLE secrets RENAME TO vault_of_old")
        renamed = open_store(filled.keys, table="vault_of_old", label="secrets")
        wrong = open_store(filled.keys, table="vault_of_old")

        assert renamed.get(account_id="a", secret_id="s") == b"a/s"
        with pytest.raises(InvalidCiphertextError):
            wrong.get(account_id="a", secret_id="s")
        assert migrate(renamed, open_keys("two")).moved == 3
        assert migrate(wrong, open_keys("one")).failed == 3


class TestPlanted:
    def test_plaintext_is_not_believed(self, filled: SecretStore, open_keys, database) -> None:
        """Unless the file names `plaintext`, whoever writes to the database can't plant a value."""
        planted = EncryptedValue("plaintext", "", "", b"Pplanted").to_text()
        database.execute(
            "UPDATE secrets SET secret = :v, section = 'plaintext', key_id = '', version = ''"
            " WHERE account_id = 'b'",
            v=planted,
        )
        strict = SecretStore(database.url, open_keys("one", without=("plaintext",)))

        with pytest.raises(SectionNotConfiguredError):
            strict.get(account_id="b", secret_id="s")
        found = strict.get_many([("a", "s"), ("b", "s")])
        assert found["a", "s"].value == b"a/s"
        assert isinstance(found["b", "s"].error, SectionNotConfiguredError)
        assert verify(strict).reasons == {"SectionNotConfiguredError": 1}
        report = migrate(strict, open_keys("two", without=("plaintext",)))
        assert (report.moved, report.failed) == (2, 1)
        assert filled.get(account_id="b", secret_id="s") == b"planted"
        strict.close()

    @pytest.mark.parametrize(
        "change",
        ["section = 'two'", "key_id = 'other'", "version = '9.00000000'", "version = ''"],
    )
    def test_columns_must_say_what_the_value_says(
        self, filled: SecretStore, database, change: str
    ) -> None:
        database.execute(f"UPDATE secrets SET {change} WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError, match="columns section, key_id, version"):
            filled.get(account_id="b", secret_id="s")

    def test_relabelling_both_does_not_help(self, filled: SecretStore, database) -> None:
        """Value and columns agree, but the cipher knows which key it was."""
        [(text,)] = database.execute("SELECT secret FROM secrets WHERE account_id = 'b'")
        value = EncryptedValue.from_text(text)
        forged = EncryptedValue("two", value.key_id, value.version, value.ciphertext)
        database.execute(
            "UPDATE secrets SET secret = :v, section = 'two' WHERE account_id = 'b'",
            v=forged.to_text(),
        )

        with pytest.raises((InvalidCiphertextError, KeyUnavailableError)):
            filled.get(account_id="b", secret_id="s")


class TestGarbage:
    @pytest.mark.parametrize(
        "garbage",
        ["", "hello", "kh1:", "kh1:one", "kh1:one:::", "kh1:one:k:v:!!!", "kh1:ONE:k:v:AAAA", "\n"],
    )
    def test_it_is_an_error_of_its_row(self, filled: SecretStore, database, garbage: str) -> None:
        database.execute("UPDATE secrets SET secret = :v WHERE account_id = 'b'", v=garbage)

        with pytest.raises(InvalidCiphertextError):
            filled.get(account_id="b", secret_id="s")
        found = filled.get_many([("a", "s"), ("b", "s")])
        assert found["a", "s"].value == b"a/s"
        assert isinstance(found["b", "s"].error, InvalidCiphertextError)

    def test_null(self, filled: SecretStore, database) -> None:
        if database.is_sqlite:  # it can't drop NOT NULL, so copy the table without it
            database.execute("CREATE TABLE copy AS SELECT * FROM secrets")
            database.execute("DROP TABLE secrets")
            database.execute(
                "CREATE TABLE secrets (secret_id TEXT NOT NULL, account_id TEXT NOT NULL, "
                "kind TEXT, section TEXT, key_id TEXT, version TEXT, secret TEXT, "
                "encrypted_at DATETIME, created_at DATETIME, updated_at DATETIME, "
                "PRIMARY KEY (account_id, secret_id))"
            )
            columns = ", ".join(filled.layout.table.c.keys())
            database.execute(f"INSERT INTO secrets SELECT {columns} FROM copy")
        else:
            database.execute("ALTER TABLE secrets ALTER secret DROP NOT NULL")
        database.execute("UPDATE secrets SET secret = NULL WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError, match="holds NULL"):
            filled.get(account_id="b", secret_id="s")

    def test_sqlite_holds_other_types(self, filled: SecretStore, database) -> None:
        if not database.is_sqlite:
            return  # a text column holds text
        database.execute("UPDATE secrets SET secret = x'd34b4801' WHERE account_id = 'b'")

        with pytest.raises(InvalidCiphertextError, match="holds bytes, not text"):
            filled.get(account_id="b", secret_id="s")
