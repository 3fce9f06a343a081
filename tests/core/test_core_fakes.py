"""The key service in memory that applications test with: real, and obedient."""

from __future__ import annotations

import asyncio
import pickle
import sys

import pytest

from keyhinge import (
    AccessDeniedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    SectionNotConfiguredError,
    ThrottledError,
    UnavailableError,
)
from keyhinge.testing import FakeService, ProviderConformance, _fake, fake_keys
from keyhinge.testing._fake import FakeModule
from keyhinge.testing._fake_cipher import StandardLibraryForTests
from keyhinge.testing._support import in_threads

pytest_plugins = ["pytester"]
CONTEXT = {"account": "1"}


class TestConformance(ProviderConformance):
    """It is a provider like any other."""

    provider = FakeModule({"one": FakeService(), "other": FakeService()})

    def settings(self):
        return {"service": "one"}

    def other_settings(self):
        return {"service": "other"}


class TestConformanceOfTheStandardLibrary(TestConformance):
    """The same where `cryptography` isn't installed."""

    @pytest.fixture(autouse=True)
    def without_cryptography(self, monkeypatch):
        monkeypatch.setattr(_fake, "cipher_for_tests", StandardLibraryForTests)


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def keys(service):
    with fake_keys(service) as keys:
        yield keys


@pytest.fixture
def value(keys):
    return keys.encrypt(b"token", context=CONTEXT)


class TestKeys:
    def test_it_is_a_real_key_manager(self, keys, value):
        assert type(keys) is KeyManager
        assert type(value) is EncryptedValue
        assert keys.decrypt(value, context=CONTEXT) == b"token"
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(value, context={"account": "2"})
        assert keys.check().ok

    def test_it_needs_no_service(self):
        with fake_keys() as keys:
            assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"

    def test_several_sections(self):
        services = {"old": FakeService(), "new": FakeService()}
        with fake_keys(services) as keys:
            assert (keys.primary, keys.sections) == ("old", ("old", "new"))
            old = keys.encrypt(b"x", context={})
            services["old"].fail()
            with pytest.raises(UnavailableError):
                keys.decrypt(old, context={})
            new = keys.encrypt(b"x", context={}, section="new")
            assert keys.decrypt(new, context={}) == b"x"
        with fake_keys({"new": services["new"]}) as keys, pytest.raises(SectionNotConfiguredError):
            keys.decrypt(old, context={})

    def test_a_value_survives_its_key_manager(self, service, value):
        with fake_keys(service) as again:
            assert again.decrypt(value, context=CONTEXT) == b"token"

    def test_async(self, keys):
        async def use():
            value = await keys.aencrypt(b"x", context={})
            return await keys.adecrypt(value, context={})

        assert asyncio.run(use()) == b"x"


class TestFaults:
    def test_fail_and_recover(self, keys, service, value):
        service.fail(AccessDeniedError("the token ended"))
        for _ in range(2):
            with pytest.raises(AccessDeniedError, match="the token ended"):
                keys.decrypt(value, context=CONTEXT)
        assert not keys.health(max_age=0).ok
        service.recover()
        assert keys.decrypt(value, context=CONTEXT) == b"token"
        assert keys.health(max_age=0).ok

    def test_fail_by_class(self, keys, service):
        service.fail(ThrottledError)
        with pytest.raises(ThrottledError) as failure:
            keys.encrypt(b"x", context={})
        assert failure.value.retryable
        service.fail()
        with pytest.raises(UnavailableError):
            keys.encrypt(b"x", context={})

    def test_throttle_for_some_calls(self, keys, service):
        service.throttle(2)
        for _ in range(2):
            with pytest.raises(ThrottledError):
                keys.encrypt(b"x", context={})
        keys.encrypt(b"x", context={})

    def test_throttle_for_a_while(self, keys, service, monkeypatch):
        now = [100.0]
        monkeypatch.setattr("keyhinge.testing._fake_service.time.monotonic", lambda: now[0])
        service.throttle(seconds=5)
        with pytest.raises(ThrottledError):
            keys.encrypt(b"x", context={})
        now[0] += 5
        keys.encrypt(b"x", context={})

    def test_throttle_until_it_recovers(self, keys, service):
        service.throttle()
        with pytest.raises(ThrottledError):
            keys.encrypt(b"x", context={})
        service.recover()
        keys.encrypt(b"x", context={})

    def test_delay(self, keys, service, monkeypatch):
        slept: list[float] = []
        monkeypatch.setattr("keyhinge.testing._fake_service.time.sleep", slept.append)
        service.delay(30)
        keys.encrypt(b"x", context={})
        assert slept == [30]

    def test_lose_key(self, keys, service, value):
        service.lose_key()
        for call in (
            lambda: keys.encrypt(b"x", context={}),
            lambda: keys.decrypt(value, context=CONTEXT),
            lambda: keys.rewrap(value, context=CONTEXT),
        ):
            with pytest.raises(KeyUnavailableError):
                call()
        service.recover()
        assert keys.decrypt(value, context=CONTEXT) == b"token"

    def test_deny(self, keys, service, value):
        service.deny("encrypt")
        with pytest.raises(AccessDeniedError):
            keys.encrypt(b"x", context={})
        (outcome,) = keys.encrypt_many([Encrypt(b"x", {})])
        assert isinstance(outcome.error, AccessDeniedError)
        assert keys.decrypt(value, context=CONTEXT) == b"token"
        service.deny()
        with pytest.raises(AccessDeniedError):
            keys.decrypt(value, context=CONTEXT)

    def test_rotated_while_it_is_asked(self, service):
        """A version that comes meanwhile disturbs nobody."""
        versions = 4000
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)

        def work(number):
            if number == 0:
                for _ in range(versions):
                    service.rotate()
            while service.current_key.version != str(versions + 1):
                assert service.key(service.current_key)

        try:
            assert in_threads(4, work) == []
        finally:
            sys.setswitchinterval(interval)

    def test_rotate(self, keys, service, value):
        service.rotate()
        assert keys.is_stale(value, keys.current_key())
        again = keys.rewrap(value, context=CONTEXT)
        assert again.version == "2"
        assert not keys.is_stale(again, keys.current_key())
        for each in (value, again):
            assert keys.decrypt(each, context=CONTEXT) == b"token"

    def test_counts(self, keys, service, value):
        keys.decrypt(value, context=CONTEXT)
        keys.decrypt_many([Decrypt(value, CONTEXT)] * 3)
        service.fail()
        with pytest.raises(UnavailableError):
            keys.decrypt(value, context=CONTEXT)
        assert service.calls == {"encrypt": 1, "decrypt": 2, "decrypt_many": 1}

    def test_it_keeps_to_itself(self, service):
        assert "keys" not in repr(service)
        with pytest.raises(TypeError):
            pickle.dumps(service)


class TestFixtures:
    TEST = """
        from keyhinge import KeyManager

        def test_it(keyhinge_keys, keyhinge_service):
            assert isinstance(keyhinge_keys, KeyManager)
            keyhinge_keys.encrypt(b"x", context={})
            assert keyhinge_service.calls["encrypt"] == 1
        """

    def test_asked_for(self, pytester):
        pytester.makeconftest('pytest_plugins = ["keyhinge.testing.fixtures"]')
        pytester.makepyfile(self.TEST)
        pytester.runpytest_subprocess().assert_outcomes(passed=1)

    def test_not_asked_for(self, pytester):
        pytester.makepyfile(self.TEST)
        result = pytester.runpytest_subprocess()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*fixture 'keyhinge_keys' not found*"])
