"""From a configuration to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyhinge import ConfigError, KeyManager
from keyhinge_store import database_url, open_store, store_settings

BASE = "keyManagement:\n  provider: plaintext\n  plaintext: {}\n"


@pytest.fixture
def opened(tmp_path: Path):
    managers: list[KeyManager] = []

    def make(store: str = "") -> KeyManager:
        file = tmp_path / "config.yaml"
        file.write_text(BASE + store)
        managers.append(KeyManager.open(file, environ={"PASSWORD": "hunter2"}))
        return managers[-1]

    yield make
    for keys in managers:
        keys.close()


class TestDatabaseUrl:
    def test_the_order(self, opened) -> None:
        """Asked for here and now, then the environment, then the file."""
        configuration = opened("store:\n  url: sqlite:///file.db\n").configuration
        environ = {"KEYHINGE_DATABASE": "sqlite:///environment.db"}

        def name(override: str | None, environ: dict[str, str]) -> str:
            return Path(str(database_url(configuration, override, environ=environ).database)).name

        assert name("sqlite:///asked.db", environ) == "asked.db"
        assert name(None, environ) == "environment.db"
        assert name(None, {}) == "file.db"

    def test_a_file_starts_at_the_configuration(self, opened, tmp_path: Path) -> None:
        configuration = opened("store:\n  url: sqlite:///data/app.db\n").configuration

        assert database_url(configuration, environ={}).database == str(tmp_path / "data/app.db")

    @pytest.mark.parametrize("url", ["sqlite:////abs/app.db", "sqlite://", "postgresql://h/d"])
    def test_others_stay(self, opened, url: str) -> None:
        configuration = opened(f"store:\n  url: '{url}'\n").configuration

        found = database_url(configuration, environ={})
        assert found.database in ("/abs/app.db", None, "d")

    def test_no_silent_default(self, opened) -> None:
        for store in ("", "store: {}\n", "store:\n  table: x\n"):
            with pytest.raises(ConfigError, match="--database") as caught:
                database_url(opened(store).configuration, environ={})
            assert caught.value.problems[0].path == "store.url"

    def test_a_password_from_the_environment(self, opened) -> None:
        keys = opened("store:\n  url: postgresql://app:${PASSWORD}@db/app\n")

        assert database_url(keys.configuration, environ={}).password == "hunter2"
        assert "hunter2" not in repr(store_settings(keys.configuration))

    def test_from_a_file(self, opened, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("sqlite:///from-file.db\n")
        keys = opened("store:\n  urlFile: url\n")

        assert str(database_url(keys.configuration, environ={}).database).endswith("from-file.db")

    def test_it_must_be_a_url(self, opened) -> None:
        keys = opened("store:\n  url: hunter2\n")

        with pytest.raises(ConfigError) as caught:
            database_url(keys.configuration, environ={})
        assert "hunter2" not in str(caught.value)


class TestOpenStore:
    def test_table_and_label(self, opened) -> None:
        keys = opened("store:\n  url: sqlite:///app.db\n  table: tokens\n  label: secrets\n")
        with open_store(keys, environ={}) as store:
            store.create_tables()
            store.put(account_id="a", kind="k", value="v", secret_id="s")

            assert store.layout.table.name == "tokens"
            assert store.layout.label == "secrets"
            assert store.get(account_id="a", secret_id="s") == b"v"

    def test_an_unknown_key(self, opened) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'table'"):
            open_store(opened("store:\n  url: sqlite://\n  tabel: x\n"), environ={})
