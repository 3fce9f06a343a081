"""Which sections can keep an envelope's keys; all others are refused when the file is opened."""

from __future__ import annotations

import pytest
from tests.local._envelope import CONTEXT, Variant, open_envelope

from keyhinge import Capabilities, ConfigError, KeyManager
from keyhinge.testing import FakeService


@pytest.fixture
def problem(kms):
    """Open a configuration that must be refused; give its one problem."""

    def opened(blocks, *, primary="envelope", fake=None):
        services = {"kms": kms, "spare": FakeService()}
        with pytest.raises(ConfigError) as caught:
            open_envelope(services, sections=blocks, kms=fake)
        [found] = caught.value.problems
        assert found.path == f"keyManagement.{primary}"
        assert kms.calls == {}
        return found.message

    return opened


class TestRefused:
    def test_over_plaintext(self, problem, plain):
        """A key that lies beside its value in the open is none."""
        said = problem({"envelope": {"over": "plain"}, "plain": plain})
        assert said == "can't keep its keys with the section 'plain', which doesn't encrypt"

    def test_plaintext_that_only_unwraps(self, problem, plain):
        said = problem({"envelope": {"over": "kms", "alsoUnwrap": ["plain"]}, "plain": plain})
        assert said == "can't keep its keys with the section 'plain', which doesn't encrypt"

    def test_plaintext_among_others(self, problem, plain):
        listed = ["spare", "plain"]
        said = problem({"envelope": {"over": "kms", "alsoUnwrap": listed}, "plain": plain})
        assert "'plain', which doesn't encrypt" in said

    @pytest.mark.parametrize(
        "block", [{"over": "nested"}, {"over": "kms", "alsoUnwrap": ["nested"]}]
    )
    def test_another_envelope(self, problem, block):
        said = problem({"envelope": block, "nested": {"type": "envelope", "over": "kms"}})
        expected = "can't keep its keys with the section 'nested', which builds on another section"
        assert said.startswith(expected)

    @pytest.mark.parametrize(
        "block", [{"over": "envelope"}, {"over": "kms", "alsoUnwrap": ["envelope"]}]
    )
    def test_itself(self, problem, block):
        assert problem({"envelope": block}) == "builds on itself, directly or through others"

    def test_each_other(self, problem):
        blocks = {
            "envelope": {"over": "nested"},
            "nested": {"type": "envelope", "over": "envelope"},
        }
        assert problem(blocks) == "builds on itself, directly or through others"

    @pytest.mark.parametrize(
        "block", [{"over": "nowhere"}, {"over": "kms", "alsoUnwrap": ["nowhere"]}]
    )
    def test_a_section_that_is_missing(self, problem, block):
        said = problem({"envelope": block})
        assert said == "builds on a section 'nowhere' that the file doesn't have"

    @pytest.mark.parametrize("block", [{"over": "spare"}, {"over": "kms", "alsoUnwrap": ["spare"]}])
    def test_one_that_binds_no_context(self, problem, kms, block):
        """Its values could be moved: a user's own 32 bytes would be a data key."""
        loose = Variant(
            {"kms": kms, "spare": FakeService()},
            capabilities=Capabilities(encrypts=True, binds_context=False, key_versions=True),
        )
        strict = {"envelope": block, "spare": {"type": "loose", "service": "spare"}}
        providers = {"fake": Variant({"kms": kms}), "loose": loose}
        kms_block = {"kms": {"type": "fake", "service": "kms"}}
        config = {"keyManagement": {"provider": "envelope", **strict, **kms_block}}
        with pytest.raises(ConfigError) as caught:
            KeyManager.open(config, providers=providers, environ={})
        assert str(caught.value) == (
            "keyManagement.envelope: can't keep its keys with the section 'spare', "
            "which doesn't authenticate the context"
        )

    def test_one_that_is_broken(self, problem):
        said = problem({"kms": {"type": "fake", "servicee": "kms"}})
        assert said.startswith("builds on the section 'kms', which can't be used")

    def test_an_alias_is_no_section(self, problem):
        """`over` names a section as the file does."""
        aliased = {"type": "fake", "service": "spare", "aliases": ["former"]}
        said = problem({"envelope": {"over": "former"}, "spare": aliased})
        assert "'former'" in said


class TestNotThePrimary:
    def test_refused_when_it_is_used(self, kms, plain):
        """The application goes on; what needs the section is told why."""
        blocks = {
            "second": {"type": "envelope", "over": "plain"},
            "plain": plain,
        }
        with open_envelope({"kms": kms}, sections=blocks) as keys:
            keys.encrypt(b"x", context=CONTEXT)
            with pytest.raises(ConfigError, match=r"keyManagement\.second: .*doesn't encrypt"):
                keys.encrypt(b"x", context=CONTEXT, section="second")


class TestWorks:
    @pytest.mark.parametrize("order", [["envelope", "kms"], ["kms", "envelope"]])
    def test_in_any_order(self, kms, order):
        blocks = {"kms": {"type": "fake", "service": "kms"}, "envelope": {"over": "kms"}}
        sections = {name: blocks[name] for name in order}
        fake = Variant({"kms": kms})
        config = {"keyManagement": {"provider": "envelope", **sections}}
        with KeyManager.open(config, providers={"fake": fake}, environ={}) as keys:
            value = keys.encrypt(b"x", context=CONTEXT)
            assert keys.decrypt(value, context=CONTEXT) == b"x"

    def test_two_over_one(self, kms):
        """They share the key service's key, and open each other's values; no data key is shared."""
        blocks = {"second": {"type": "envelope", "over": "kms", "partitionBy": ["account"]}}
        with open_envelope({"kms": kms}, sections=blocks) as keys:
            one = keys.encrypt(b"x", context=CONTEXT)
            two = keys.encrypt(b"x", context=CONTEXT, section="second")
            assert (one.section, two.section) == ("envelope", "second")
            for value in (one, two):
                assert keys.decrypt(value, context=CONTEXT) == b"x"
            assert kms.calls["encrypt"] == 2

    def test_the_file_may_also_have_plaintext(self, kms, plain):
        """Beside an envelope it's no concern of this; old values are migrated out of it."""
        with open_envelope({"kms": kms}, sections={"plain": plain}) as keys:
            old = keys.encrypt(b"x", context=CONTEXT, section="plain")
            assert keys.decrypt(old, context=CONTEXT) == b"x"

    def test_it_counts_as_encrypting(self, kms):
        with open_envelope({"kms": kms}) as keys:
            capabilities = keys.capabilities()
        assert capabilities.encrypts
        assert capabilities.binds_context
        assert capabilities.key_versions
        assert capabilities.max_plaintext == 64 * 1024 * 1024
