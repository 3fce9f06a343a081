"""KeyManager: which section does what, batches, rewrap, keys, staleness, checks and health."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyhinge import (
    AccessDeniedError,
    Capabilities,
    ConfigError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyRef,
    Outcome,
    SectionNotConfiguredError,
    UnavailableError,
    hookimpl,
)

CONTEXT = {"account": "acct_1", "secret": "sec_1"}


class TestSections:
    def test_primary_encrypts(self, opened):
        keys = opened("a", "b")
        value = keys.encrypt(b"x", context=CONTEXT)
        assert (value.section, value.key_id, value.version) == ("a", "toy", "1")
        assert (keys.primary, keys.sections) == ("a", ("a", "b"))
        assert keys.decrypt(value, context=CONTEXT) == b"x"

    def test_another_one_when_asked(self, opened):
        keys = opened("a", "b")
        value = keys.encrypt(b"x", context=CONTEXT, section="b")
        assert value.section == "b"
        assert keys.section_of(value) == "b"
        assert keys.decrypt(value, context=CONTEXT) == b"x"

    def test_two_sections_of_one_provider_are_apart(self, opened):
        keys = opened("a", "b")
        value = keys.encrypt(b"x", context=CONTEXT)
        moved = EncryptedValue("b", value.key_id, value.version, value.ciphertext)
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(moved, context=CONTEXT)

    def test_the_old_section_decrypts_after_a_switch(self, opened):
        old = opened("a").encrypt(b"x", context=CONTEXT)
        keys = opened("b", "a")
        assert keys.decrypt(old, context=CONTEXT) == b"x"
        assert keys.encrypt(b"x", context=CONTEXT).section == "b"
        assert keys.rewrap(old, context=CONTEXT).section == "a"

    def test_a_section_that_is_gone(self, opened):
        value = opened("a").encrypt(b"x", context=CONTEXT)
        keys = opened("b")
        with pytest.raises(SectionNotConfiguredError, match=r"section 'a'.*`aliases`") as caught:
            keys.decrypt(value, context=CONTEXT)
        assert caught.value.section == "a"
        assert caught.value.__cause__ is caught.value.__context__ is None
        with pytest.raises(SectionNotConfiguredError):
            keys.rewrap(value, context=CONTEXT)
        with pytest.raises(SectionNotConfiguredError):
            keys.section_of(value)

    def test_aliases(self, opened):
        value = opened("old").encrypt(b"x", context=CONTEXT)
        keys = opened("new", blocks={"new": {"key": "old", "aliases": ["old", "older"]}})
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        assert keys.section_of(value) == keys.section_of("older") == "new"
        assert keys.encrypt(b"x", context=CONTEXT).section == "new"
        assert keys.rewrap(value, context=CONTEXT).section == "new"
        assert [x.value for x in keys.decrypt_many([Decrypt(value, CONTEXT)] * 2)] == [b"x"] * 2
        assert not keys.is_stale(value, keys.current_key())
        with pytest.raises(ConfigError, match="no section 'old'"):
            keys.encrypt(b"x", context=CONTEXT, section="old")

    @pytest.mark.parametrize("name", ["nowhere", "", "A", "toy"])
    def test_no_such_section(self, opened, name):
        keys = opened("a")
        for call in (
            lambda: keys.encrypt(b"x", context={}, section=name),
            lambda: keys.encrypt_many([], section=name),
            lambda: keys.current_key(name),
            lambda: keys.capabilities(name),
            lambda: keys.check(name),
        ):
            with pytest.raises(ConfigError, match=r"there is no section .*; there are: "):
                call()

    def test_broken_section_is_raised_when_it_is_needed(self, opened, caplog):
        keys = opened("a", "b", blocks={"b": {"keyy": "x"}})
        assert "section b can't be used" in caplog.text
        assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"
        messages = set()
        for _ in range(3):
            with pytest.raises(ConfigError, match=r"keyManagement\.b\.keyy") as caught:
                keys.encrypt(b"x", context={}, section="b")
            assert caught.value.problems[0].path == "keyManagement.b.keyy"
            assert caught.traceback[-1].name == "_unusable"
            assert len(caught.traceback) < 6  # it doesn't grow with each time
            messages.add(str(caught.value))
        assert len(messages) == 1
        with pytest.raises(SectionNotConfiguredError, match=r"keyManagement\.b\.keyy"):
            keys.decrypt(EncryptedValue("b", "toy", "1", b"x"), context={})

    def test_broken_primary(self, opened):
        with pytest.raises(ConfigError, match=r"keyManagement\.a\.keyy"):
            opened("a", "b", blocks={"a": {"keyy": "x"}})


class TestArguments:
    def test_context_is_required(self, opened):
        keys = opened("a")
        with pytest.raises(TypeError):
            keys.encrypt(b"x")
        with pytest.raises(TypeError):
            keys.encrypt(b"x", {})
        value = keys.encrypt(b"x", context={})
        with pytest.raises(TypeError):
            keys.decrypt(value)

    @pytest.mark.parametrize("context", [None, "a", {"a": 1}, {"keyhinge": "x"}, {"a": "\0"}, 5])
    def test_bad_context(self, opened, context):
        keys = opened("a")
        value = keys.encrypt(b"x", context={})
        for call in (
            lambda: keys.encrypt(b"x", context=context),
            lambda: keys.decrypt(value, context=context),
            lambda: keys.rewrap(value, context=context),
            lambda: keys.encrypt_many([Encrypt(b"x", context)])[0].value,
            lambda: keys.decrypt_many([Decrypt(value, context)])[0].value,
            lambda: keys.rewrap_many([Decrypt(value, context)])[0].value,
        ):
            with pytest.raises(InvalidContextError) as caught:
                call()
            assert caught.value.__context__ is None

    def test_wrong_context(self, opened):
        keys = opened("a")
        value = keys.encrypt(b"x", context=CONTEXT)
        for context in ({}, {**CONTEXT, "x": "y"}, {"account": "acct_2", "secret": "sec_1"}):
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(value, context=context)
        assert keys.decrypt(value, context=dict(reversed(CONTEXT.items()))) == b"x"

    @pytest.mark.parametrize(
        "value", [None, "kh1:a:toy:1:YWJj", b"x", ("a", "toy", "1", b"x"), Encrypt(b"x", {})]
    )
    def test_not_a_value(self, opened, value):
        keys = opened("a")
        for call in (keys.decrypt, keys.rewrap):
            with pytest.raises(TypeError, match="must be an EncryptedValue, not"):
                call(value, context={})
        with pytest.raises(TypeError, match="must be an EncryptedValue"):
            keys.decrypt_many([Decrypt(value, {})])

    def test_what_only_looks_like_a_value(self, opened):
        class Lookalike:
            """Would choose its own key."""

            section, key_id, version, ciphertext = "a", "../other", "1", b"x"

        class Derived(EncryptedValue):
            """A subclass, which might change on the way."""

        keys = opened("a")
        for value in (Lookalike(), Derived("a", "toy", "1", b"x")):
            with pytest.raises(TypeError):
                keys.decrypt(value, context={})

    @pytest.mark.parametrize("items", [None, {}, iter([]), 5])
    def test_not_a_batch(self, opened, items):
        keys = opened("a")
        for call in (keys.encrypt_many, keys.decrypt_many, keys.rewrap_many):
            with pytest.raises(TypeError, match="must be a sequence"):
                call(items)

    @pytest.mark.parametrize("item", [None, b"x", (b"x", {}), EncryptedValue("a", "k", "1", b"x")])
    def test_not_an_item(self, opened, item):
        keys = opened("a")
        with pytest.raises(TypeError, match="must be Encrypt"):
            keys.encrypt_many([Encrypt(b"x", {}), item])
        with pytest.raises(TypeError, match="must be Decrypt"):
            keys.decrypt_many([item])

    @pytest.mark.parametrize("plaintext", [b"", b"\0", b"x" * 100_000, bytes(range(256))])
    def test_any_bytes(self, opened, plaintext):
        keys = opened("a")
        value = keys.encrypt(plaintext, context=CONTEXT)
        assert keys.decrypt(value, context=CONTEXT) == plaintext
        assert keys.encrypt(plaintext, context=CONTEXT) != value

    def test_a_context_changed_afterwards(self, opened):
        keys = opened("a")
        context = {"a": "1"}
        value = keys.encrypt(b"x", context=context)
        context["a"] = "2"
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(value, context=context)
        context["a"] = "1"
        assert keys.decrypt(value, context=context) == b"x"

    def test_batch_items_are_left_as_they_were(self, opened):
        keys = opened("a")
        item = Encrypt(b"x", {"a": "1"})
        keys.encrypt_many([item])
        assert type(item.context) is dict
        assert repr(item) == "Encrypt(context={'a': '1'})"


class TestBatches:
    def test_one_bad_item_fails_alone(self, opened):
        keys = opened("a")
        outcomes = keys.encrypt_many(
            [Encrypt(b"1", {}), Encrypt(b"2", {"": ""}), Encrypt(b"3", CONTEXT)]
        )
        assert [x.error is None for x in outcomes] == [True, False, True]
        assert type(outcomes[1].error) is InvalidContextError
        assert keys.decrypt(outcomes[2].value, context=CONTEXT) == b"3"
        with pytest.raises(InvalidContextError) as caught:
            _ = outcomes[1].value
        assert caught.value is outcomes[1].error

    @pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
    def test_items_that_fail_together(self, opened, variant, operation):
        """Each has an error of its own: who handles one never sees another's traceback."""

        @hookimpl
        def many(self, items):
            raise UnavailableError("is sealed")

        keys = opened("a", using=variant(**{f"keyhinge_{operation}_many": many}))
        value = keys.encrypt(b"x", context={})
        if operation == "encrypt":
            errors = [x.error for x in keys.encrypt_many([Encrypt(b"x", {})] * 3)]
        else:
            errors = [x.error for x in keys.decrypt_many([Decrypt(value, {})] * 3)]
        assert len(set(map(id, errors))) == 3
        assert {(type(x), x.section, str(x)) for x in errors if x} == {
            (UnavailableError, "a", "a: is sealed")
        }

    @pytest.mark.parametrize("hooks", [False, True])
    def test_mixed_sections_and_one_that_is_gone(self, opened, variant, hooks):
        calls: list[Sequence[Decrypt]] = []

        @hookimpl
        def decrypt_many(self, items):
            calls.append(items)
            return [self.keyhinge_decrypt(item.value, item.context) for item in items]

        gone = opened("c").encrypt(b"gone", context={})
        using = variant(**({"keyhinge_decrypt_many": decrypt_many} if hooks else {}))
        keys = opened("a", "b", using=using, blocks={"b": {"aliases": ["b-old"]}})
        values = [keys.encrypt(bytes([i]), context={}, section="ab"[i % 2]) for i in range(6)]
        values[3] = EncryptedValue("b-old", "toy", "1", values[3].ciphertext)
        bad = EncryptedValue("a", "toy", "1", b"x" * 60)
        if hooks:
            bad = values[0]  # this hook ends a batch at its first bad item
        outcomes = keys.decrypt_many([Decrypt(value, {}) for value in [*values, gone, bad]])
        assert [x.value for x in outcomes[:6]] == [bytes([i]) for i in range(6)]
        assert type(outcomes[6].error) is SectionNotConfiguredError
        if hooks:
            assert [len(items) for items in calls] == [4, 3]
        else:
            assert type(outcomes[7].error) is InvalidCiphertextError

    def test_a_section_that_is_down_fails_its_own_items(self, opened, variant):
        @hookimpl
        def decrypt_many(self, items):
            if self._name == "b":
                raise UnavailableError("is sealed")
            return [self.keyhinge_decrypt(item.value, item.context) for item in items]

        keys = opened("a", "b", using=variant(keyhinge_decrypt_many=decrypt_many))
        values = [keys.encrypt(b"x", context={}, section="ab"[i % 2]) for i in range(4)]
        outcomes = keys.decrypt_many([Decrypt(value, {}) for value in values])
        assert [type(x.error) for x in outcomes] == [type(None), UnavailableError] * 2

    def test_outcome(self):
        good: Outcome[bytes] = Outcome(b"S3CR3T")
        assert repr(good) == "Outcome(ok)"
        assert (good.value, good.error) == (b"S3CR3T", None)
        bad: Outcome[bytes] = Outcome(error=UnavailableError("is down"))
        assert "is down" in repr(bad)
        for _ in range(3):
            with pytest.raises(UnavailableError) as caught:
                _ = bad.value
            assert len(caught.traceback) == 2


class TestRewrap:
    def test_by_decrypting_and_encrypting(self, opened):
        keys = opened("a")
        value = keys.encrypt(b"x", context=CONTEXT)
        again = keys.rewrap(value, context=CONTEXT)
        assert again != value
        assert keys.decrypt(again, context=CONTEXT) == b"x"

    def test_by_the_hook(self, opened, variant):
        @hookimpl
        def rewrap_many(self, items):
            return [self.keyhinge_encrypt(b"by the hook", item.context) for item in items]

        keys = opened("a", "b", using=variant(keyhinge_rewrap_many=rewrap_many))
        values = [keys.encrypt(b"x", context=CONTEXT, section=name) for name in "ab"]
        again = keys.rewrap_many([Decrypt(value, CONTEXT) for value in values])
        assert [x.value.section for x in again] == ["a", "b"]
        assert keys.decrypt(again[1].value, context=CONTEXT) == b"by the hook"

    def test_one_bad_item(self, opened):
        keys = opened("a")
        value = keys.encrypt(b"x", context=CONTEXT)
        bad = EncryptedValue("a", "toy", "1", b"x" * 70)
        first, second, third = keys.rewrap_many(
            [Decrypt(value, CONTEXT), Decrypt(bad, CONTEXT), Decrypt(value, CONTEXT)]
        )
        assert type(second.error) is InvalidCiphertextError
        for outcome in (first, third):
            assert keys.decrypt(outcome.value, context=CONTEXT) == b"x"


class TestKeys:
    def test_current_key_by_encrypting(self, opened):
        keys = opened("a", "b", blocks={"b": {"keyID": "other", "version": "9"}})
        assert keys.current_key() == KeyRef("toy", "1")
        assert keys.current_key("b") == KeyRef("other", "9")

    def test_current_key_by_the_hook(self, opened, variant):
        hook = hookimpl(lambda self: KeyRef("k", "7"))
        assert opened("a", using=variant(keyhinge_current_key=hook)).current_key().version == "7"

    @pytest.mark.parametrize(
        ("section", "key_id", "version", "current", "stale"),
        [
            ("a", "k", "3", KeyRef("k", "3"), False),
            ("a-old", "k", "3", KeyRef("k", "3"), False),
            ("a", "k", "2", KeyRef("k", "3"), True),
            ("a", "j", "3", KeyRef("k", "3"), True),
            ("b", "k", "3", KeyRef("k", "3"), True),
            ("gone", "k", "3", KeyRef("k", "3"), True),
            ("a", "k", "", KeyRef("k", "3"), True),  # not recorded is never current
            ("a", "k", "", KeyRef("k"), False),
            ("a", "", "", KeyRef(""), False),
        ],
    )
    def test_is_stale(self, opened, module, section, key_id, version, current, stale):
        keys = opened("a", "b", blocks={"a": {"aliases": ["a-old"]}})
        value = EncryptedValue(section, key_id, version, b"x")
        before = list(module.events)
        assert keys.is_stale(value, current) is stale
        assert module.events == before

    def test_capabilities(self, opened, variant):
        caps = Capabilities(encrypts=True, binds_context=True, max_plaintext=9)
        assert opened("a", using=variant(capabilities=caps)).capabilities("a") is caps


class TestCheckAndHealth:
    def counting(self, variant, **extra):
        calls: list[str] = []
        down: list[UnavailableError] = []

        @hookimpl
        def decrypt(self, value, context):
            calls.append(self._name)
            if down:
                raise down[0]
            return self.own_decrypt(value, context)

        return variant(keyhinge_decrypt=decrypt, **extra), calls, down

    def test_health_is_cached(self, opened, variant):
        using, calls, down = self.counting(variant)
        keys = opened("a", using=using)
        assert not calls
        first = keys.health()
        assert (first.ok, first.encrypts, first.section, first.message) == (True, True, "a", "")
        assert keys.health() is first
        assert len(calls) == 1
        down.append(UnavailableError("is sealed"))
        assert keys.health() is first
        second = keys.health(max_age=0)
        assert (second.ok, second.retryable, second.message) == (False, True, "a: is sealed")
        assert len(calls) == 2

    def test_health_asks_once_however_many_wait(self, opened, variant):
        using, calls, _ = self.counting(variant)
        keys = opened("a", using=using)
        with ThreadPoolExecutor(32) as pool:
            found = set(pool.map(lambda _: id(keys.health()), range(200)))
        assert len(calls) == len(found) == 1

    def test_health_is_of_the_configuration_in_force(self, opened, variant):
        using, calls, _ = self.counting(variant)
        keys = opened("a", using=using)
        keys.health()
        keys.reload()
        keys.health()
        assert len(calls) == 2

    def test_check(self, opened, variant):
        using, calls, down = self.counting(variant)
        keys = opened("a", "b", using=using)
        codes = [finding.code for finding in keys.check("b").findings]
        assert codes == ["provider", "round-trip", "context", "key"]
        assert set(calls) == {"b"}
        assert keys.check().ok
        down.append(UnavailableError("is sealed"))
        report = keys.check()
        assert not report.ok
        (finding,) = (finding for finding in report.findings if finding.level == "error")
        assert finding.data == {"error": "UnavailableError", "retryable": True}
        assert "is sealed" in finding.message

    def test_check_finds_a_context_that_is_ignored(self, opened, variant):
        @hookimpl
        def decrypt(self, value, context):
            own = {"keyhinge": "probe/1"}
            return self.own_decrypt(value, own)

        report = opened("a", using=variant(keyhinge_decrypt=decrypt)).check()
        (finding,) = (finding for finding in report.findings if finding.level == "error")
        assert finding.code == "context"

    def test_check_finds_what_does_not_come_back(self, opened, variant):
        hook = hookimpl(lambda self, value, context: b"something else")
        keys = opened("a", using=variant(keyhinge_decrypt=hook))
        assert not keys.check().ok
        assert not keys.health().ok

    def test_fail_fast_what_cannot_get_better(self, opened, variant):
        @hookimpl
        def encrypt(self, plaintext, context):
            raise AccessDeniedError("the token is gone")

        using = variant(keyhinge_encrypt=encrypt)
        opened("a", using=using)
        with pytest.raises(AccessDeniedError, match="a: the token is gone"):
            opened("a", using=using, fail_fast=True)
        assert using.events == ["configure a", "configure a", "close a"]

    def test_fail_fast_in_an_outage(self, opened, variant, caplog):
        using, _, down = self.counting(variant)
        down.append(UnavailableError("is sealed"))
        keys = opened("a", using=using, fail_fast=True)
        assert "starting although the key service doesn't answer: a: is sealed" in caplog.text
        value = keys.encrypt(b"x", context={})
        down.clear()
        assert keys.decrypt(value, context={}) == b"x"

    def test_open_calls_nothing(self, opened, variant):
        using, calls, _ = self.counting(variant)
        opened("a", "b", using=using)
        assert using.events == ["configure a", "configure b"]
        assert not calls


class TestObject:
    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_never_copied(self, opened, toy, again):
        keys = opened("a")
        for thing in (keys, toy.Provider(toy.Settings(), "a", [])):
            with pytest.raises(TypeError, match="can't be pickled or copied"):
                again(thing)

    def test_repr(self, opened):
        keys = opened("a")
        assert repr(keys) == "<KeyManager, primary 'a'>"  # from a mapping, which has no name
        keys.close()
        assert "closed" in repr(keys)

    def test_threads(self, opened):
        """32 threads, several sections, reloads in between: every value comes back."""
        keys = opened("a", "b")
        stop = threading.Event()

        def work(number):
            for turn in range(60):
                plaintext = f"{number}/{turn}".encode()
                context = {"n": str(number), "t": str(turn)}
                value = keys.encrypt(plaintext, context=context, section="ab"[turn % 2])
                assert keys.decrypt(value, context=context) == plaintext
            return number

        def reload():
            while not stop.wait(0.005):
                keys.reload()

        reloader = threading.Thread(target=reload)
        reloader.start()
        try:
            with ThreadPoolExecutor(32) as pool:
                assert sorted(pool.map(work, range(32))) == list(range(32))
        finally:
            stop.set()
            reloader.join()

    def test_ordinary_use_needs_no_event_loop(self):
        """asyncio and pools of threads are imported only by those who use the async forms."""
        program = """
import sys
from keyhinge import Capabilities, KeyManager, Provider, Sealed, hookimpl, settings

@settings
class Nothing: pass

class Null(Provider):
    capabilities = Capabilities(encrypts=False, binds_context=False)
    @hookimpl
    def keyhinge_encrypt(self, plaintext, context): return Sealed(b"x" + plaintext)
    @hookimpl
    def keyhinge_decrypt(self, value, context): return value.ciphertext[1:]

class Module:
    keyhinge_api, keyhinge_settings = 1, Nothing
    @hookimpl
    def keyhinge_configure(self, settings, section): return Null()

config = {"keyManagement": {"provider": "null", "null": {}}}
with KeyManager.open(config, providers={"null": Module()}) as keys:
    assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"
    assert keys.check().ok and keys.health().ok
    keys.reload()
heavy = {"asyncio", "concurrent.futures", "boto3", "hvac", "sqlalchemy", "cryptography"}
print(sorted(heavy & set(sys.modules)))
"""
        done = subprocess.run(
            [sys.executable, "-I", "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
