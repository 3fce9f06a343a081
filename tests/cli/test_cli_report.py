"""The pages of `status` and `report`, `keyhinge report` itself, and `--max-key-age`."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, open_store, open_tables

SCRIPT = "<script>alert('x')</script>&\"\x1b[31m"
TWO = (
    "  options: {maxKeyAge: 365d}\n"
    "  local: {keyFile: keyhinge.key}\n"
    "  second: {type: local, keyFile: second.key}\n"
)
VOID = {"meta", "br", "rect", "line"}
ELSEWHERE = {"src", "href", "xlink:href", "action", "formaction", "background", "poster", "srcset"}


class Page(HTMLParser):
    """What stands in a page; whatever isn't well-formed fails here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.policy: str | None = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.headings: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        found = dict(attrs)
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def read(path: Path) -> Page:
    """Read a page, and look that it is what every page must be."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not names & ELSEWHERE
    assert not [name for name in names if name.startswith("on") or name == "style"]
    assert "url(" not in text
    assert "\x1b" not in text
    assert page.tags.count("h1") == 1
    # Each picture has its numbers in a table, and says what it shows.
    assert page.tags.count("figcaption") == page.tags.count("figure")
    assert page.tags.count("title") > page.tags.count("figure")
    for table in page.tables:
        assert {len(row) for row in table} == {len(table[0])}
    return page


@pytest.fixture
def two(project):
    """50 secrets under `second`; `local` is the primary."""
    keyfile.init(project.folder / "second.key")
    project.sections("second", TWO)
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.put_many(NewSecret("a", SCRIPT, f"hunter2-{n}", f"s{n:02}") for n in range(50))
    project.sections("local", TWO)
    return project


def plant(project) -> None:
    """Write rows whose labels are meant for a page, not for us."""
    for column, where in (("section", "s01"), ("key_id", "s02"), ("version", "s03")):
        project.sql(f"UPDATE secrets SET {column} = ? WHERE secret_id = ?", SCRIPT, where)


class TestStatusPage:
    def test_before_anything_ran(self, two, run) -> None:
        done = run("status", "--html", "page.html")
        assert (done.code, done.out) == (0, run("status").out)
        page = read(two.folder / "page.html")
        assert page.headings[0] == "Keyhinge: what is stored"
        assert {"Keys in use", "Age", "Tables", "Progress", "Configuration"} <= set(page.headings)
        text = " ".join(page.text)
        assert "No migration has run" in text
        assert "sqlite:///" in text
        assert ["second", "local", "reads", "yes", ""] in page.tables[-1]
        assert "hunter2" not in text

    def test_nothing_from_the_database_is_markup(self, two, run) -> None:
        plant(two)
        assert run("status", "--html", "page.html").code == 3
        page = read(two.folder / "page.html")
        shown = SCRIPT.replace("\x1b", "\\x1b")
        cells = [cell for table in page.tables for row in table for cell in row]
        assert shown in cells
        assert any(shown in text for text in page.text)

    def test_nothing_from_the_configuration_is_markup(self, two, run) -> None:
        two.sections(
            "local",
            TWO,
            "store:\n  url: sqlite:///secrets.db\n  label: \"<script>alert('x')</script>\"\n",
        )
        assert run("status", "--html", "page.html").code == 0
        page = read(two.folder / "page.html")
        assert "<script>alert('x')</script>.secret" in [row[0] for row in page.tables[-2]]

    def test_a_migration_that_was_stopped(self, two, run) -> None:
        two.sql("UPDATE secrets SET kind = 'x' WHERE secret_id < 's20'")
        assert run("migrate", "--max-errors", "5", "--batch-size", "10").code == 1
        assert run("status", "--html", "page.html").code == 0
        page = read(two.folder / "page.html")
        text = " ".join(page.text)
        assert "Run 1: migrate secrets to local" in page.headings
        assert "nobody works on it now" in text
        assert ["InvalidCiphertextError", "10"] in [row for table in page.tables for row in table]

    def test_after_a_migration_and_a_verification(self, two, run) -> None:
        assert run("migrate").code == 0
        assert run("verify").code == 0
        run("status", "--html", "page.html")
        page = read(two.folder / "page.html")
        assert "Last verification: secrets" in page.headings
        assert "50 of 50" in page.text
        assert "50 of 50 rows moved" in page.text

    def test_an_empty_database(self, project, run) -> None:
        assert run("status", "--html", "page.html").code == 4
        read(project.folder / "page.html")

    def test_many_keys_are_cut_and_it_is_said(self, two, run) -> None:
        for number in range(50):
            two.sql(
                "UPDATE secrets SET key_id = ? WHERE secret_id = ?", f"k{number}", f"s{number:02}"
            )
        run("status", "--html", "page.html")
        page = read(two.folder / "page.html")
        assert "Values by key (the first 20 of 50)" in page.text

    def test_a_file_that_can_not_be_written(self, two, run) -> None:
        done = run("status", "--html", "no/such/page.html")
        assert done.code == 1
        assert "can't be written: No such file" in done.err
        assert not (two.folder / "no").exists()


class TestMaxKeyAge:
    def old(self, project) -> None:
        project.sql("UPDATE secrets SET encrypted_at = '2020-01-01 00:00:00.000000'")

    def test_kept(self, two, run) -> None:
        done = run("status")
        assert done.code == 0
        assert "kept" in done.text
        assert "no key version is known to be in use for longer than 365d" in done.err

    def test_broken_exits_with_5_and_says_where(self, two, run) -> None:
        self.old(two)
        done = run("status")
        assert done.code == 5
        assert "in use for longer than 365d: second version 1." in done.err
        assert "50 values overdue" in done.err
        [event] = run("status", "--json").events
        assert (event["policy"], event["overdue"], event["exit_code"]) == ("broken", 50, 5)

    def test_the_option_comes_first(self, two, run) -> None:
        self.old(two)
        assert run("status", "--max-key-age", "9000d").code == 0
        two.sections("local", TWO.replace("maxKeyAge: 365d", "requireEncryption: true"))
        assert run("status").code == 0
        assert run("status", "--max-key-age", "1w").code == 5

    @pytest.mark.parametrize("text", ["1y", "365", ""])
    def test_what_is_no_duration(self, two, run, text) -> None:
        done = run("status", "--max-key-age", text)
        assert done.code == 2
        assert "as in 365d" in done.err

    def test_rows_that_can_not_be_read_come_first(self, two, run) -> None:
        self.old(two)
        plant(two)
        assert run("status").code == 3

    def test_a_mapping_without_dates_is_not_known(self, two, run) -> None:
        mapped = (
            "store:\n  url: sqlite:///secrets.db\n  tables:\n"
            "    - table: tokens\n      primaryKey: [id]\n      encoding: text\n"
            "      columns: {ciphertext: token}\n      context: {id: id}\n"
        )
        two.sections("local", TWO, mapped)
        two.sql("CREATE TABLE tokens (id integer PRIMARY KEY, token text)")
        with KeyManager.open(two.config) as keys, open_tables(keys) as tables:
            cells = tables.columns[0].encrypt("x", {"id": 1})
        two.sql("INSERT INTO tokens VALUES (1, ?)", cells["token"])
        done = run("status", "--html", "page.html")
        assert done.code == 5
        assert "it isn't known whether" in done.err
        assert "local version" in done.err
        assert "no key version is known" not in done.err
        page = read(two.folder / "page.html")
        assert ["tokens.token", "1", "0", "0", "0", "0", "1", "0", "0"] in page.tables[-2]
        assert run("migrate", "--json").code == 0
        assert run("report", "--since", "2020-01-01").code == 0


class TestReport:
    def test_a_year(self, two, run) -> None:
        assert run("migrate").code == 0
        assert run("verify").code == 0
        done = run("report", "--since", "2020-01-01", "--html", "page.html")
        assert done.code == 0
        assert "migrate secrets to local" in done.text
        assert "verify secrets" in done.text
        page = read(two.folder / "page.html")
        assert page.headings[:2] == ["Keyhinge: keys and runs", "Runs"]
        assert "Run 1: migrate secrets to local" in page.headings
        before_and_after = [row[-2:] for table in page.tables for row in table]
        assert ["50", "0"] in before_and_after
        assert ["0", "50"] in before_and_after
        assert "hunter2" not in "".join(page.text) + done.text + done.err

    def test_json(self, two, run) -> None:
        run("migrate")
        [event] = run("report", "--since", "2020-01-01", "--json").events
        assert (event["event"], event["exit_code"]) == ("report", 0)
        [told] = event["runs"]
        assert (told["run"]["operation"], told["verified"]) == ("migrate", 50)
        assert told["run"]["participants"][0]["actor"].count("@") == 1
        assert event["status"]["policy"] == "kept"
        assert json.dumps(event).count("hunter2") == 0

    def test_nothing_is_markup(self, two, run) -> None:
        plant(two)
        run("migrate")
        run("report", "--since", "2020-01-01", "--html", "page.html")
        page = read(two.folder / "page.html")
        shown = SCRIPT.replace("\x1b", "\\x1b")
        assert any(shown in cell for table in page.tables for row in table for cell in row)

    def test_another_time(self, two, run) -> None:
        run("migrate")
        [event] = run("report", "--since", "2020-01-01", "--until", "2020-12-31", "--json").events
        assert event["runs"] == []
        assert event["until"] == "2021-01-01T00:00:00+00:00"

    @pytest.mark.parametrize(
        ("given", "since"),
        [
            ("2026-01-31", "2026-01-31T00:00:00+00:00"),
            ("2026-01-31T12:30Z", "2026-01-31T12:30:00+00:00"),
            ("2026-01-31 12:30:01", "2026-01-31T12:30:01+00:00"),
            ("2026-01-31T12:30:00+02:00", "2026-01-31T10:30:00+00:00"),
        ],
    )
    def test_dates(self, two, run, given, since) -> None:
        [event] = run("report", "--since", given, "--json").events
        assert event["since"] == since

    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("--since", "yesterday"),
            ("--since", "2026-02-30"),
            ("--since", "20260131"),
            ("--since", "2026-01-31", "--until", "2026-01-30"),
        ],
        ids=" ".join,
    )
    def test_what_is_no_time(self, two, run, options) -> None:
        assert run("report", *options).code == 2

    def test_an_empty_database(self, project, run) -> None:
        assert run("report", "--since", "2020-01-01").code == 4
        assert run("report", "--since", "2020-01-01", "--allow-empty").code == 0


def test_names_in_json_are_those_of_the_reference(two, run) -> None:
    """Programs go by them: a name may come, and none may go."""
    [event] = run("status", "--json").events
    assert set(event) == {
        *("event", "exit_code", "primary", "current", "current_error", "values", "labels", "stale"),
        *("unreadable", "not_configured", "unencrypted", "oldest", "tables", "at", "max_key_age"),
        *("overdue", "undated", "outside", "database", "sections", "policy", "estimated"),
    }
    [label] = event["labels"]
    assert set(label) == {
        *("section", "key_id", "version", "values", "oldest", "stale", "configured", "encrypts"),
        *("table", "undated", "overdue", "policy"),
    }
    run("migrate")
    [told] = run("report", "--since", "2020-01-01", "--json").events
    assert set(told) == {"event", "exit_code", "at", "since", "until", "status", "runs"}
    assert set(told["status"]) == set(event) - {"event", "exit_code"}
    [evidence] = told["runs"]
    assert set(evidence) == {
        *("run", "before", "after", "labels", "verified", "reasons", "duration"),
    }
    assert set(evidence["labels"][0]) == {"section", "key_id", "version", "before", "after"}


def test_postgresql(two, run, postgres_url) -> None:
    """The same pages; the address says neither password nor query."""
    where = ("--database", postgres_url)
    assert run("store", "init", *where).code == 0
    with KeyManager.open(two.config) as keys, open_store(keys, postgres_url) as store:
        store.put_many(NewSecret("a", SCRIPT, f"hunter2-{n}", f"s{n}") for n in range(5))
    assert run("verify", *where).code == 0
    assert run("status", "--html", "page.html", *where).code == 0
    page = read(two.folder / "page.html")
    assert [text for text in page.text if text.startswith("postgresql+psycopg://")]
    assert "?host=" not in "".join(page.text)
    done = run("report", "--since", "2020-01-01", "--html", "report.html", *where)
    assert done.code == 0
    read(two.folder / "report.html")


def test_runs_show_verifications(two, run) -> None:
    run("migrate")
    run("verify")
    listed = run("runs").text
    assert "verify secrets" in listed
    assert "opened" in run("runs", "show", "2").text
    assert "took part" in run("runs", "show", "1").text
