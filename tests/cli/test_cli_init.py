"""`keyhinge init`: all of it or nothing, and never over anything."""

from __future__ import annotations

import json
import stat

import pytest
import sqlalchemy as sa
import yaml

from keyhinge import KeyManager


def test_makes_a_project_that_works(run, project):
    assert stat.S_IMODE(project.key.stat().st_mode) == 0o600
    config = yaml.safe_load(project.config.read_text(encoding="utf-8"))
    assert config["keyManagement"]["provider"] == "local"
    assert config["keyManagement"]["options"] == {"requireEncryption": True}
    assert config["store"] == {"url": "sqlite:///secrets.db"}
    assert run("config", "check").code == 0
    assert run("check").code == 0
    with KeyManager.open(project.config) as keys:
        assert keys.capabilities().encrypts
    assert run("secrets", "list").code == 0


def test_says_how_to_back_up_and_what_comes_next(run, tmp_path):
    done = run("init")
    assert done.code == 0
    assert "config.yaml" in done.text
    assert "keyhinge.key" in done.text
    assert "apart from each other" in done.err
    assert "keyhinge secrets put" in done.err
    key = json.loads((tmp_path / "work/keyhinge.key").read_text())["versions"][0]["key"]
    assert key not in done.text + done.err


def test_directory_and_json(run, tmp_path):
    (tmp_path / "there").mkdir()
    done = run("init", "--directory", tmp_path / "there", "--json")
    [event] = done.events
    assert event["config"] == str(tmp_path / "there/config.yaml")
    assert all(note["event"] == "note" for note in done.errors)
    assert run("check", "--config", event["config"]).code == 0


def test_config_names_the_file(run, tmp_path, monkeypatch):
    assert run("init", "--config", tmp_path / "mine.yaml").code == 0
    assert (tmp_path / "mine.yaml").exists()
    monkeypatch.setenv("KEYHINGE_CONFIG", "by-variable.yaml")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert run("init").code == 0
    assert (tmp_path / "other/by-variable.yaml").exists()
    assert run("check").code == 0


@pytest.mark.parametrize("name", ["config.yaml", "keyhinge.key", "secrets.db"])
def test_overwrites_nothing_and_writes_nothing_beside_it(name, run, tmp_path):
    there = tmp_path / "work" / name
    there.write_text("mine")
    done = run("init")
    assert done.code == 2
    assert f"{name} exists" in done.err
    assert there.read_text() == "mine"
    assert [path.name for path in (tmp_path / "work").iterdir()] == [name]


def test_a_dangling_link_counts_as_there(run, tmp_path):
    (tmp_path / "work/config.yaml").symlink_to(tmp_path / "nowhere")
    assert run("init").code == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_folder(run, tmp_path):
    done = run("init", "--directory", tmp_path / "none")
    assert done.code == 2
    assert "make it first" in done.err
    assert not (tmp_path / "none").exists()


class TestServer:
    def test_the_table_is_made_there(self, run, tmp_path, postgres_url):
        if sa.make_url(postgres_url).password:
            pytest.skip("the server that was given asks for a password, which init refuses")
        url = postgres_url.replace("postgresql+psycopg:", "postgresql:")
        done = run("init", "--database", url, "--json")
        assert done.code == 0, done.err
        assert done.events[0]["database"] == postgres_url
        assert not (tmp_path / "work/secrets.db").exists()
        config = yaml.safe_load((tmp_path / "work/config.yaml").read_text())
        assert config["store"] == {"url": postgres_url}
        assert run("secrets", "put", "--account", "a", "--kind", "k", stdin=b"v").code == 0
        assert run("status").code == 0

    @pytest.mark.parametrize(
        "url", ["postgresql://me:hunter2@db/app", "postgresql://me@db/app?password=hunter2"]
    )
    def test_a_password_is_not_written(self, url, run, tmp_path):
        done = run("init", "--database", url)
        assert done.code == 2
        assert "urlFile" in done.err
        assert "hunter2" not in done.err
        assert list((tmp_path / "work").iterdir()) == []

    @pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://db/app", "nonsense"])
    def test_another_database_is_refused(self, url, run, tmp_path):
        assert run("init", "--database", url).code == 2
        assert list((tmp_path / "work").iterdir()) == []

    @pytest.mark.parametrize("name", ["none", "a%20b${HOME}#'c"])
    def test_a_server_that_is_away(self, name, run, tmp_path):
        done = run("init", "--database", f"postgresql://me@127.0.0.1:1/{name}")
        assert done.code == 0
        assert "couldn't be made" in done.err
        assert "keyhinge store init" in done.err
        assert run("config", "check").code == 0
        config = yaml.safe_load((tmp_path / "work/config.yaml").read_text())
        assert config["store"]["url"].startswith("postgresql+psycopg://me@127.0.0.1:1/")


def test_without_the_store_the_next_step_installs_it(run, project, monkeypatch):
    import sys

    for path in (project.config, project.key, project.database):
        path.unlink()
    monkeypatch.setitem(sys.modules, "keyhinge_store", None)
    done = run("init")
    assert done.code == 0
    assert not project.database.exists()
    assert 'pip install "keyhinge[store]"' in done.err


def test_another_database_in_the_environment_is_left_alone(run, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYHINGE_DATABASE", "sqlite:///other.db")
    assert run("init").code == 0
    assert (tmp_path / "work/secrets.db").exists()
    assert not (tmp_path / "work/other.db").exists()
