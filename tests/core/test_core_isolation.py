"""One broken package: its own error says whose it is and what to do, and other sections go on.

Each case is a distribution of its own, beside a good one whose section is the primary.
"""

from __future__ import annotations

import pytest
from tests.core._site import GOOD, Site

SECRET = "S3CR3T"
REPORT = "please report it there"
NO_CONFIGURE = "keyhinge_configure"


def changed(old, new):
    """Give the good provider with one thing changed."""
    assert old in GOOD
    return GOOD.replace(old, new)


ENCRYPT = 'def keyhinge_encrypt(self, plaintext, context): return Sealed(b"t" + plaintext)'
CONFIGURE = "def keyhinge_configure(settings, section): return Toy()"

# name: code, error, what it says is wrong, what it says is to be done
FAULTS = {
    "raises-at-import": (
        f"raise RuntimeError('{SECRET}')", "ProviderLoadError", "RuntimeError", "Reinstall",
    ),
    "exits-at-import": ("raise SystemExit(3)", "ProviderLoadError", "SystemExit", "Reinstall"),
    "needs-a-library": (
        "import there_is_no_such_library", "ProviderLoadError", "there_is_no_such_library",
        "Reinstall",
    ),
    "has-a-slip": ("def f(:", "ProviderLoadError", "SyntaxError", "python -c 'import"),
    "has-properties": (
        f"def __getattr__(name): raise RuntimeError('{SECRET}')", "ProviderLoadError",
        "looking at it raised RuntimeError", REPORT,
    ),
    "has-no-hook": (
        changed(CONFIGURE, "def configure(): pass"), "ProviderLoadError", NO_CONFIGURE, REPORT,
    ),
    "has-other-arguments": (
        changed(CONFIGURE, "def keyhinge_configure(config): return Toy()"), "ProviderLoadError",
        "must take exactly (settings, section)", REPORT,
    ),
    "has-other-hooks": (
        changed(ENCRYPT, "def keyhinge_encrypt(self, text): pass"), "ProviderContractError",
        "must take exactly (plaintext, context)", REPORT,
    ),
    "has-odd-settings": (
        changed("class keyhinge_settings: pass", "class keyhinge_settings:\n    x: 'No' = None"),
        "ProviderLoadError", "settings class", REPORT,
    ),
    "raises-in-configure": (
        changed("return Toy()", f"raise ValueError('{SECRET}')"), "ProviderContractError",
        "configuring it raised ValueError", REPORT,
    ),
    "configures-rubbish": (
        changed("return Toy()", f"return '{SECRET}'"), "ProviderContractError",
        "returned str, not a Provider", REPORT,
    ),
    "raises-when-called": (
        changed("return Sealed(b\"t\" + plaintext)", f"raise ValueError('{SECRET}')"),
        "ProviderContractError", "it raised ValueError", REPORT,
    ),
    "lacks-a-library-when-called": (
        changed("return Sealed(b\"t\" + plaintext)", "import there_is_no_such_library"),
        "ProviderContractError", "it raised ModuleNotFoundError (no module named", REPORT,
    ),
    "returns-rubbish": (
        changed("return Sealed(b\"t\" + plaintext)", f"return '{SECRET}'"),
        "ProviderContractError", "it gave str, not Sealed", REPORT,
    ),
    "speaks-api-0": (
        changed("keyhinge_api = 1", "keyhinge_api = 0"), "ProviderLoadError",
        "written for hook API 0", "upgrade that package",
    ),
    "speaks-api-99": (
        changed("keyhinge_api = 1", "keyhinge_api = 99"), "ProviderLoadError",
        "written for hook API 99", "pip install --upgrade keyhinge",
    ),
    "speaks-no-api": (
        changed("keyhinge_api = 1", ""), "ProviderLoadError", "no keyhinge_api", REPORT,
    ),
    "speaks-api-text": (
        changed("keyhinge_api = 1", "keyhinge_api = '1'"), "ProviderLoadError",
        "keyhinge_api is a str", REPORT,
    ),
}  # fmt: skip

USE = """
import json
name, kind = {name!r}, {kind!r}
keys = KeyManager.open(config)
value = keys.encrypt(b"x", context={{}})
for use in (
    lambda: keys.encrypt(b"x", context={{}}, section=name),
    lambda: keys.encrypt_many([Encrypt(b"x", {{}})], section=name)[0].value,
):
    try:
        use()
    except KeyhingeError as error:
        assert type(error).__name__ == kind, repr(error)
        assert error.__cause__ is error.__context__ is None
        print(error)
    else:
        raise AssertionError
assert keys.decrypt(value, context={{}}) == b"x"
keys.reload()
assert keys.decrypt(value, context={{}}) == b"x"
keys.close()
"""


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site")
    site.install("toy", GOOD)
    return site


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_package_breaks_its_own_section(site, name):
    code, kind, what, advice = FAULTS[name]
    site.install(name, code, distribution="keyhinge-stranger", version="4.5")
    done = site.run(USE.format(name=name, kind=kind), "toy", name)
    for line in done.stdout.splitlines():
        assert what in line
        assert advice in line
        assert "keyhinge-stranger 4.5" in line
    assert len(done.stdout.splitlines()) == 2
    assert SECRET not in done.stdout + done.stderr


def test_a_name_taken_twice(site):
    site.install("twice", GOOD, distribution="keyhinge-stranger", version="4.5")
    site.install("twice", GOOD, distribution="keyhinge-another", version="1.0")
    done = site.run(USE.format(name="twice", kind="ProviderConflictError"), "toy", "twice")
    for line in done.stdout.splitlines():
        assert "keyhinge-another 1.0 and keyhinge-stranger 4.5" in line
        assert "Uninstall the one that you don't want" in line
    assert "section twice can't be used" in done.stderr


@pytest.mark.parametrize(
    "name", [name for name in FAULTS if "call" not in name and "returns" not in name]
)
def test_a_broken_primary_is_an_error_when_it_is_opened(site, name):
    code, kind, what, advice = FAULTS[name]
    site.install(name, code, distribution="keyhinge-stranger", version="4.5")
    done = site.run(
        f"""
        try:
            KeyManager.open(config)
        except {kind} as error:
            print(error)
        else:
            raise AssertionError
        """,
        name,
        "toy",
    )
    assert what in done.stdout
    assert advice in done.stdout
    assert "keyhinge-stranger 4.5" in done.stdout
    assert SECRET not in done.stdout + done.stderr
