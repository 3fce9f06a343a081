"""Finding providers: real distributions in a folder, good ones and bad ones side by side.

Everything runs in a process of its own, because what is installed can't be taken away again.
"""

from __future__ import annotations

import textwrap

import pytest
from tests.core._site import GOOD, ROUND_TRIP, Site

BAD = {
    "exits": "import sys\nprint('RAN exits')\nsys.exit(3)\n",
    "raises": "print('RAN raises')\nraise RuntimeError('S3CR3T')\n",
    "prints": "print('RAN prints')\n" + GOOD,
    "needs": "import a_client_library_that_is_not_there\n",
    "futuristic": GOOD.replace("keyhinge_api = 1", "keyhinge_api = 99"),
}


# As if the distributions of this repository that have these providers weren't installed.
WITHOUT_OURS = """
import importlib.metadata
everything = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **wanted: [
    point for point in everything(**wanted) if point.name not in ("aws", "vault", "openbao")
]
"""


@pytest.fixture
def site(tmp_path):
    """A good provider beside bad ones."""
    site = Site(tmp_path / "site")
    site.install("toy", GOOD)
    for name, code in BAD.items():
        site.install(name, code)
    return site


class TestIsolation:
    def test_only_what_is_named_is_imported(self, site):
        done = site.run(
            ROUND_TRIP + "print(*[name for name in sys.modules if name.startswith('keyhinge_')])",
            "toy",
        )
        assert done.stdout == "keyhinge_toy\n"
        assert done.stderr == ""

    def test_listing_imports_nothing(self, site):
        done = site.run(
            """
            from keyhinge._discovery import installed_providers
            found = {each.name: each for each in installed_providers()}
            print(str(found["exits"]), found["exits"].target)
            assert {"toy", "exits", "raises", "prints", "needs", "futuristic"} <= set(found)
            assert not [name for name in sys.modules if name.startswith("keyhinge_")]
            """,
            "toy",
        )
        assert done.stdout == "keyhinge-exits 1.2 keyhinge_exits\n"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("exits", "SystemExit"),
            ("raises", "RuntimeError"),
            ("needs", "no module named 'a_client_library_that_is_not_there'"),
            ("futuristic", "written for hook API 99"),
        ],
    )
    def test_a_broken_section_breaks_alone(self, site, name, reason):
        done = site.run(
            ROUND_TRIP.replace("keys.close()", "")
            + f"""
name = {name!r}
for use in (lambda: keys.current_key(name), lambda: keys.check(name)):
    try:
        use()
    except ProviderLoadError as error:
        assert error.__cause__ is error.__context__ is None
        print(error)
try:
    keys.decrypt(EncryptedValue({name!r}, "", "", b"x"), context={{}})
except SectionNotConfiguredError as error:
    print(error)
            """,
            "toy",
            name,
        )
        lines = [line for line in done.stdout.splitlines() if not line.startswith("RAN")]
        assert len(lines) == 3
        for line in [*lines, done.stderr]:
            assert reason in line
            assert f"keyhinge-{name} 1.2" in line
            assert "S3CR3T" not in line
        assert f"section {name} can't be used" in done.stderr

    @pytest.mark.parametrize("name", ["exits", "raises", "needs", "futuristic"])
    def test_a_broken_primary_is_an_error(self, site, name):
        site.run(
            f"""
            try:
                KeyManager.open(config)
            except ProviderLoadError as error:
                assert "keyhinge-{name} 1.2" in str(error)
                assert error.__cause__ is error.__context__ is None
            else:
                raise AssertionError
            """,
            name,
            "toy",
        )

    def test_damaged_metadata_of_any_package(self, site):
        """Python's own reader gives up over the whole environment; ours leaves that one out."""
        site.install("x", "", distribution="damaged", entries="[keyhinge.providers]\nno equals\n")
        (site.folder / "nameless-1.dist-info").mkdir()
        done = site.run(
            """
            from importlib.metadata import entry_points
            from keyhinge._discovery import installed_providers

            try:
                print(len(list(entry_points(group="keyhinge.providers"))) > 0)
            except Exception as error:
                print(type(error).__name__)
            assert "toy" in {each.name for each in installed_providers()}
            keys = KeyManager.open(config)
            assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"
            """,
            "toy",
        )
        # Where Python's reader is broken by it, the log says that something was left out.
        assert ("metadata can't be read" in done.stderr) is (done.stdout != "True\n")

    @pytest.mark.parametrize("target", ["", "!!", "keyhinge_odd:missing", "keyhinge_odd:a.b", ":"])
    def test_bad_targets(self, site, target):
        entries = f"[keyhinge.providers]\nodd = {target}\n"
        site.install("odd", GOOD, entries=entries)
        site.run(
            """
            try:
                KeyManager.open(config)
            except (ProviderLoadError, ProviderNotFoundError):
                pass
            else:
                raise AssertionError
            """,
            "odd",
        )

    def test_target_that_is_a_class_or_an_instance(self, site):
        code = GOOD + "\nclass Plugin:\n    keyhinge_api = 1\n" + textwrap.indent(
            "keyhinge_settings = keyhinge_settings\n"
            "@hookimpl\n"
            "def keyhinge_configure(self, settings, section): return Toy()\n",
            "    ",
        ) + "plugin = Plugin()\n"  # fmt: skip
        site.install("one", code, target="keyhinge_one:plugin")
        site.install("kind", code, target="keyhinge_kind:Plugin")
        site.run(
            ROUND_TRIP
            + """
config["keyManagement"]["provider"] = "kind"
try:
    KeyManager.open(config)
except ProviderLoadError as error:
    assert "names a class" in str(error)
else:
    raise AssertionError
            """,
            "one",
            "kind",
        )


class TestNames:
    def test_the_same_name_twice(self, site):
        site.install("toy", GOOD, distribution="another-toy", version="7")
        done = site.run(
            """
            try:
                KeyManager.open(config)
            except ProviderConflictError as error:
                print(error)
            assert not [name for name in sys.modules if name.endswith("_toy")]
            """,
            "toy",
        )
        assert "another-toy 7 and keyhinge-toy 1.2" in done.stdout
        assert "Uninstall" in done.stdout

    def test_twice_elsewhere_does_not_matter(self, site):
        site.install("prints", GOOD, distribution="another", version="7")
        site.run(ROUND_TRIP, "toy")

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("aws", 'pip install "keyhinge[aws]"'),
            ("openbao", 'pip install "keyhinge[vault]"'),
            ("vualt", "Did you mean 'vault'? To install it: pip install \"keyhinge[vault]\""),
            ("tooy", "Did you mean 'toy'?"),
            ("tooy", "pip install keyhinge-tooy"),
            ("tooy", "installed are "),
        ],
    )
    def test_missing(self, site, name, line):
        done = site.run(
            WITHOUT_OURS
            + """
try:
    KeyManager.open(config)
except ProviderNotFoundError as error:
    print(error)
            """,
            name,
        )
        assert line in done.stdout

    def test_a_missing_one_that_is_not_primary(self, site):
        done = site.run(
            WITHOUT_OURS
            + ROUND_TRIP.replace("keys.close()", "")
            + """
try:
    keys.current_key("aws")
except ProviderNotFoundError as error:
    print(error)
            """,
            "toy",
            "aws",
        )
        assert 'pip install "keyhinge[aws]"' in done.stdout
        assert "section aws can't be used" in done.stderr

    def test_one_provider_twice_side_by_side(self, site):
        site.run(
            """
            keys = KeyManager.open(config)
            for name in ("toy-eu", "toy-us"):
                value = keys.encrypt(b"x", context={}, section=name)
                assert value.section == name
                assert keys.decrypt(value, context={}) == b"x"
            """,
            provider="toy-eu",
            **{"toy-eu": {"type": "toy"}, "toy-us": {"type": "toy"}},
        )
