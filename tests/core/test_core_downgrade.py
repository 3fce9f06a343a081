"""Never plaintext by accident: what makes KeyManager demand encryption, and what is believed."""

from __future__ import annotations

import logging

import pytest

from keyhinge import (
    Capabilities,
    ConfigError,
    Encrypt,
    EncryptedValue,
    KeyManager,
    ProviderContractError,
    Sealed,
    SectionNotConfiguredError,
    hookimpl,
)


@pytest.fixture
def bare(variant):
    """A provider that doesn't encrypt, as keyhinge-plaintext doesn't."""
    return variant(
        capabilities=Capabilities(encrypts=False, binds_context=False, blocking=False),
        keyhinge_encrypt=hookimpl(lambda self, plaintext, context: Sealed(b"P" + plaintext)),
        keyhinge_decrypt=hookimpl(lambda self, value, context: value.ciphertext[1:]),
    )


@pytest.fixture
def start(module, bare):
    """Open a file's content."""
    made = []

    def start(key_management, environ=None, **options):
        keys = KeyManager.open(
            {"keyManagement": key_management},
            providers={"toy": module, "plaintext": bare},
            environ=environ or {},
            **options,
        )
        made.append(keys)
        return keys

    yield start
    for keys in made:
        keys.close()


PLAINTEXT = {"provider": "plaintext", "plaintext": {}}
WARNING = "the primary section plaintext doesn't encrypt"


class TestRequired:
    @pytest.mark.parametrize(
        ("more", "environ", "options"),
        [
            ({"options": {"requireEncryption": True}}, {}, {}),
            ({}, {"KEYHINGE_REQUIRE_ENCRYPTION": "1"}, {}),
            ({}, {}, {"require_encryption": True}),
            # Nothing takes away what another place demands.
            ({"options": {"requireEncryption": True}}, {}, {"require_encryption": False}),
            (
                {"options": {"requireEncryption": True}},
                {"KEYHINGE_REQUIRE_ENCRYPTION": "0"},
                {"require_encryption": None},
            ),
            (
                {"options": {"requireEncryption": False}},
                {"KEYHINGE_REQUIRE_ENCRYPTION": "1"},
                {"require_encryption": False},
            ),
        ],
    )
    def test_refused(self, start, bare, more, environ, options):
        with pytest.raises(ConfigError, match=r"'plaintext', which doesn't encrypt, but") as caught:
            start({**PLAINTEXT, **more}, environ, **options)
        assert caught.value.problems[0].path == "keyManagement.provider"
        # An empty keyManagement means plaintext, and is refused as well.
        with pytest.raises(ConfigError):
            start(more, environ, **options)

    def test_by_another_name(self, start):
        with pytest.raises(ConfigError, match="'secure', which doesn't encrypt"):
            start({"provider": "secure", "secure": {"type": "plaintext"}}, require_encryption=True)

    def test_as_a_section_that_only_decrypts(self, start, caplog):
        """That is how one moves away from it."""
        keys = start({"provider": "toy", "toy": {}, "plaintext": {}}, require_encryption=True)
        old = EncryptedValue("plaintext", "", "", b"Ptoken")
        assert keys.decrypt(old, context={}) == b"token"
        assert WARNING not in caplog.text

    def test_the_environment_cannot_move_the_primary_there(self, start):
        both = {"provider": "toy", "toy": {}, "plaintext": {}}
        environ = {"KEYHINGE_PROVIDER": "plaintext"}
        with pytest.raises(ConfigError):
            start(both, environ, require_encryption=True)
        assert start(both, environ).primary == "plaintext"

    def test_reload_into_plaintext(self, module, bare):
        config = {"keyManagement": {"provider": "toy", "toy": {}, "plaintext": {}}}
        with KeyManager.open(
            config,
            providers={"toy": module, "plaintext": bare},
            environ={},
            require_encryption=True,
        ) as keys:
            config["keyManagement"]["provider"] = "plaintext"
            with pytest.raises(ConfigError, match="doesn't encrypt"):
                keys.reload()
            assert keys.encrypt(b"x", context={}).section == "toy"


class TestSaid:
    def test_a_warning_at_each_open(self, start, caplog):
        with caplog.at_level(logging.WARNING, "keyhinge"):
            start(PLAINTEXT)
            start({})
        records = [r for r in caplog.records if WARNING in r.getMessage()]
        assert len(records) == 2
        assert all(record.levelno == logging.WARNING for record in records)
        assert not start(PLAINTEXT).health().encrypts

    def test_in_the_check(self, start):
        codes = [finding.code for finding in start(PLAINTEXT).check().findings]
        assert "not-encrypted" in codes


class TestPlanted:
    def test_not_believed_where_the_file_does_not_name_it(self, start):
        """Whoever can write to the database could otherwise put any value there."""
        keys = start({"provider": "toy", "toy": {}})
        planted = EncryptedValue.from_text("kh1:plaintext:::UGV2aWw=")
        with pytest.raises(SectionNotConfiguredError, match="section 'plaintext'"):
            keys.decrypt(planted, context={})
        with pytest.raises(SectionNotConfiguredError):
            keys.rewrap(planted, context={})
        assert start({"provider": "toy", "toy": {}, "plaintext": None}).decrypt(
            planted, context={}
        ) == b"evil"  # fmt: skip

    def test_a_failure_never_falls_back(self, start, module, variant, bare):
        """Nothing is stored or handed out unencrypted because encrypting failed."""

        @hookimpl
        def fail(self, plaintext, context):
            raise RuntimeError

        keys = KeyManager.open(
            {"keyManagement": {"provider": "toy", "toy": {}, "plaintext": {}}},
            providers={"toy": variant(keyhinge_encrypt=fail), "plaintext": bare},
            environ={},
        )
        with keys:
            with pytest.raises(ProviderContractError):
                keys.encrypt(b"x", context={})
            (outcome,) = keys.encrypt_many([Encrypt(b"x", {})])
            assert type(outcome.error) is ProviderContractError
