"""What a check tries, for each purpose, and what it makes of a provider's findings."""

from __future__ import annotations

import pytest

from keyhinge import AccessDeniedError, CheckReport, Finding, hookimpl

TELLING = (
    Finding("error", "no-encrypt", "may not encrypt", purposes=("app", "migrate")),
    Finding("warning", "no-rewrap", "may not rewrap", purposes=("migrate",)),
    Finding("ok", "server", "answers"),
)


@pytest.fixture
def telling(variant):
    """A provider with findings of its own."""

    @hookimpl
    def keyhinge_check(self):
        return CheckReport(TELLING)

    return variant(keyhinge_check=keyhinge_check)


def levels(report):
    return {finding.code: finding.level for finding in report.findings}


class TestPurpose:
    @pytest.mark.parametrize(
        ("purpose", "encrypt", "rewrap"),
        [("app", "error", "info"), ("read", "info", "info"), ("migrate", "error", "warning")],
    )
    def test_findings_for_others_are_only_information(
        self, opened, telling, purpose, encrypt, rewrap
    ):
        """A right that is only needed for writing doesn't bother a reader."""
        found = levels(opened(using=telling).check(purpose=purpose))
        assert (found["no-encrypt"], found["no-rewrap"]) == (encrypt, rewrap)
        assert found["server"] == "ok"

    def test_reading_encrypts_nothing(self, opened, variant):
        """A reader's right to encrypt isn't tried: it may not have it, and needn't."""

        @hookimpl
        def keyhinge_encrypt(self, plaintext, context):
            raise AccessDeniedError("may not encrypt")

        keys = opened(using=variant(keyhinge_encrypt=keyhinge_encrypt))
        assert not keys.check().ok
        assert keys.check(purpose="read").ok

    def test_migrating_rewraps(self, opened):
        keys = opened()
        assert levels(keys.check(purpose="migrate"))["rewrap"] == "ok"
        assert "rewrap" not in levels(keys.check())

    def test_what_rewrapping_raises_is_a_finding(self, opened, variant):
        @hookimpl
        def keyhinge_rewrap_many(self, items):
            return [AccessDeniedError("may not rewrap")]

        keys = opened(using=variant(keyhinge_rewrap_many=keyhinge_rewrap_many))
        assert levels(keys.check(purpose="migrate"))["rewrap"] == "error"

    def test_a_wrong_rewrap_is_found_out(self, opened, variant):
        @hookimpl
        def keyhinge_rewrap_many(self, items):
            return [self.own_encrypt(b"something else", item.context) for item in items]

        keys = opened(using=variant(keyhinge_rewrap_many=keyhinge_rewrap_many))
        assert levels(keys.check(purpose="migrate"))["rewrap"] == "error"

    def test_unknown_purpose(self, opened):
        with pytest.raises(ValueError, match="app, read, migrate"):
            opened().check(purpose="write")


class Seeing:
    """A provider's module that notes which environment its section shows."""

    keyhinge_api = 1

    def __init__(self, module):
        self.keyhinge_settings = module.keyhinge_settings
        self._module = module
        self.seen = []

    @hookimpl
    def keyhinge_configure(self, settings, section):
        self.seen.append(section.environ.get("TOY_ADDR"))
        return self._module.keyhinge_configure(settings, section)


class TestEnvironment:
    """Providers read it from their section, so that `environ=` reaches them too."""

    def test_the_one_that_was_given(self, module, opened):
        using = Seeing(module)
        opened(using=using, environ={"TOY_ADDR": "here"})
        assert using.seen == ["here"]

    def test_the_process_s_own(self, module, opened, monkeypatch):
        monkeypatch.setenv("TOY_ADDR", "there")
        using = Seeing(module)
        opened(using=using, environ=None)
        assert using.seen == ["there"]
