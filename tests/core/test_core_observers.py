"""Observers: what they see, in which order, and what they can't do."""

from __future__ import annotations

import gc
import types

import pytest

from keyhinge import (
    ConfigError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    InvalidPlaintextError,
    KeyManager,
    KeyRef,
    OperationError,
    ProviderContractError,
    SectionNotConfiguredError,
    hookimpl,
)

SECRET = b"S3CR3T-plaintext-marker"
CONTEXT = {"account": "acct_1"}


class Watcher:
    """Keeps all that it sees."""

    def __init__(self, name="w", log=None):
        self.name = name
        self.log = [] if log is None else log
        self.seen = []

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation):
        """Watch."""
        self.log.append(f"{self.name} before")
        result = yield
        self.log.append(f"{self.name} after")
        self.seen.append((operation, result))
        return result


@pytest.fixture
def watcher():
    """An observer."""
    return Watcher()


class TestOperations:
    def test_encrypt(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        keys.encrypt(SECRET, context=CONTEXT)
        ((operation, result),) = watcher.seen
        assert (operation.name, operation.section) == ("encrypt", "a")
        assert (operation.contexts, operation.sizes) == ((CONTEXT,), (len(SECRET),))
        assert (result.keys, result.errors) == ((KeyRef("toy", "1"),), (None,))
        assert 0 < result.duration < 10

    def test_decrypt(self, opened, watcher):
        keys = opened("a", observers=[watcher], blocks={"a": {"aliases": ["old"]}})
        value = keys.encrypt(SECRET, context=CONTEXT)
        renamed = EncryptedValue("old", value.key_id, value.version, value.ciphertext)
        assert keys.decrypt(renamed, context=CONTEXT) == SECRET
        operation, result = watcher.seen[-1]
        assert (operation.name, operation.section) == ("decrypt", "a")
        assert operation.sizes == (len(value.ciphertext),)
        assert result.keys == (KeyRef("toy", "1"),)

    def test_one_operation_for_each_public_call(self, opened, watcher):
        keys = opened("a", "b", observers=[watcher])
        values = [keys.encrypt(b"x", context=CONTEXT, section=name) for name in "ab"]
        items = [Decrypt(value, CONTEXT) for value in values]
        keys.rewrap(values[0], context=CONTEXT)
        keys.encrypt_many([Encrypt(b"12", CONTEXT), Encrypt(b"3", {})], section="b")
        keys.decrypt_many(items)
        keys.rewrap_many(items[:1])
        assert [(seen.name, seen.section, len(seen.sizes)) for seen, _ in watcher.seen] == [
            ("encrypt", "a", 1),
            ("encrypt", "b", 1),
            ("rewrap", "a", 1),
            ("encrypt_many", "b", 2),
            ("decrypt_many", None, 2),
            ("rewrap_many", "a", 1),
        ]
        assert watcher.seen[3][0].sizes == (2, 1)
        assert watcher.seen[3][0].contexts == (CONTEXT, {})
        keys.decrypt_many([])
        assert watcher.seen[-1][0].sizes == ()

    def test_order(self, opened):
        log: list[str] = []
        keys = opened("a", observers=[Watcher("1", log), Watcher("2", log), Watcher("3", log)])
        keys.encrypt(b"x", context={})
        assert log == ["1 before", "2 before", "3 before", "3 after", "2 after", "1 after"]

    def test_none(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        with keys.clone() as other:
            other.encrypt(b"x", context={})
        assert watcher.seen == []


class TestErrors:
    def test_seen_and_raised(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        value = keys.encrypt(b"x", context=CONTEXT)
        gone = EncryptedValue("gone", "k", "1", b"x")
        for call, kind in (
            (lambda: keys.decrypt(value, context={}), InvalidCiphertextError),
            (lambda: keys.decrypt(gone, context={}), SectionNotConfiguredError),
            (lambda: keys.rewrap(gone, context={}), SectionNotConfiguredError),
            (lambda: keys.encrypt(b"x", context={"": ""}), InvalidContextError),
            (lambda: keys.encrypt(b"x", context=None), InvalidContextError),
            (lambda: keys.encrypt("x", context={}), InvalidPlaintextError),
            (lambda: keys.encrypt(7, context={}), InvalidPlaintextError),
        ):
            before = len(watcher.seen)
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.__context__ is caught.value.__cause__ is None
            assert len(watcher.seen) == before + 1
            assert watcher.seen[-1][1].errors == (caught.value,)

    def test_key_that_a_failed_value_names(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        with pytest.raises(OperationError):
            keys.decrypt(EncryptedValue("a", "k", "7", b"x"), context={})
        assert watcher.seen[-1][1].keys == (KeyRef("k", "7"),)
        with pytest.raises(OperationError):
            keys.encrypt("x", context={})
        assert watcher.seen[-1][1].keys == (None,)

    def test_of_single_items(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        keys.encrypt_many([Encrypt(b"x", {}), Encrypt(b"x", {"": ""})])
        first, second = watcher.seen[-1][1].errors
        assert first is None
        assert type(second) is InvalidContextError

    def test_a_wrong_batch_is_refused_before_anybody_sees_it(self, opened, watcher):
        keys = opened("a", observers=[watcher])
        for call in (
            lambda: keys.encrypt_many([Encrypt(b"x", {}), None]),
            lambda: keys.decrypt_many([Decrypt("x", {})]),  # type: ignore[arg-type]
            lambda: keys.decrypt("x", context={}),
            lambda: keys.rewrap(None, context={}),
        ):
            with pytest.raises(TypeError, match="must be"):
                call()
        assert watcher.seen == []


class TestNothingSecret:
    @staticmethod
    def reachable(start):
        """All bytes and text that an object leads to, without modules, functions and classes."""
        found, seen, todo = set(), set(), [start]
        shared = type | types.ModuleType | types.FunctionType | types.FrameType
        while todo:
            thing = todo.pop()
            if id(thing) in seen or isinstance(thing, shared):
                continue
            seen.add(id(thing))
            if isinstance(thing, bytes | str):
                found.add(thing)
            todo += gc.get_referents(thing)
        return found

    def test_neither_plaintext_nor_ciphertext(self, opened, watcher, variant):
        @hookimpl
        def decrypt(self, value, context):
            if value.ciphertext == b"lie":
                raise ValueError(SECRET)
            return self.own_decrypt(value, context)

        keys = opened("a", observers=[watcher], using=variant(keyhinge_decrypt=decrypt))
        value = keys.encrypt(SECRET, context=CONTEXT)
        keys.decrypt(value, context=CONTEXT)
        keys.rewrap(value, context=CONTEXT)
        keys.encrypt_many([Encrypt(SECRET, CONTEXT)] * 2)
        keys.decrypt_many([Decrypt(value, CONTEXT), Decrypt(value, {})])
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(value, context={})
        with pytest.raises(ProviderContractError):
            keys.decrypt(EncryptedValue("a", "toy", "1", b"lie"), context={})
        assert len(watcher.seen) == 7
        found = self.reachable(watcher.seen)
        assert "acct_1" in found
        for thing in found:
            data = thing if isinstance(thing, bytes) else thing.encode("utf-8", "replace")
            assert SECRET not in data
            assert value.ciphertext not in data

    def test_contexts_cannot_be_changed(self, opened):
        class Meddler:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                with pytest.raises(TypeError):
                    operation.contexts[0]["account"] = "acct_2"
                return (yield)

        keys = opened("a", observers=[Meddler()])
        value = keys.encrypt(b"x", context=CONTEXT)
        assert keys.decrypt(value, context=CONTEXT) == b"x"


class TestObserversOwnFaults:
    def test_exception_before(self, opened, module):
        class Full:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                if operation.name == "encrypt":
                    raise OSError("the disk is full")
                yield

        keys = opened("a", observers=[Full()])
        with pytest.raises(OSError, match="the disk is full"):
            keys.encrypt(b"x", context={})

    def test_exception_after(self, opened):
        class Full:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                yield
                raise OSError("the disk is full")

        keys = opened("a", observers=[Full()])
        with pytest.raises(OSError, match="the disk is full"):
            keys.encrypt(b"x", context={})

    def test_returns_before_it_yields(self, opened):
        class Lazy:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                if operation.name:
                    return None
                return (yield)

        keys = opened("a", observers=[Lazy()])
        with pytest.raises(RuntimeError, match="yield"):
            keys.encrypt(b"x", context={})

    def test_yields_twice(self, opened):
        class Eager:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                yield
                yield

        keys = opened("a", observers=[Eager()])
        with pytest.raises(RuntimeError, match="yield"):
            keys.encrypt(b"x", context={})

    @pytest.mark.parametrize("answer", [None, "other"])
    def test_what_it_returns_changes_nothing(self, opened, answer):
        class Liar:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                yield
                return answer

        keys = opened("a", observers=[Liar()])
        assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"

    def test_calls_within_calls(self, opened):
        class Nested:
            keys: KeyManager
            depth = 0

            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                if self.depth == 0:
                    self.depth += 1
                    value = self.keys.encrypt(b"inner", context={})
                    assert self.keys.decrypt(value, context={}) == b"inner"
                    self.depth -= 1
                return (yield)

        nested = Nested()
        nested.keys = opened("a", observers=[nested])
        assert nested.keys.decrypt(nested.keys.encrypt(b"x", context={}), context={}) == b"x"


class NotWrapper:
    """Has a plain implementation."""

    @hookimpl
    def keyhinge_operation(self, operation):
        """Would replace the call."""


class NoYield:
    """Isn't a generator."""

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation):
        """Would never make the call."""


class OldWrapper:
    """Of the old kind, whose exceptions are lost."""

    @hookimpl(hookwrapper=True)
    def keyhinge_operation(self, operation):
        """Watch."""
        yield


class Unmarked:
    """Forgot the marker."""

    def keyhinge_operation(self, operation):
        """Watch."""
        yield


class Misnamed:
    """Has another argument."""

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, op):
        """Watch."""
        yield


class TestRefused:
    @pytest.mark.parametrize(
        ("observer", "message"),
        [
            (NotWrapper(), "must be a wrapper"),
            (NoYield(), "must yield"),
            (OldWrapper(), "must be a wrapper"),
            (Unmarked(), "lacks the @hookimpl marker"),
            (Misnamed(), r"must take exactly \(operation\)"),
            (Watcher, "it is a class"),
            (object(), "has no keyhinge_operation"),
            (None, "has no keyhinge_operation"),
        ],
    )
    def test_refused(self, opened, module, observer, message):
        with pytest.raises(ConfigError, match=message):
            opened("a", observers=[observer])
        assert module.events == []


MODULE = """
from keyhinge import hookimpl

class Audit:
    def __init__(self):
        self.names = []

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation):
        self.names.append(operation.name)
        return (yield)

audit = Audit()
other = Audit()

class space:
    audit = audit
"""


class TestNamedInTheConfiguration:
    @pytest.fixture
    def audit(self, tmp_path, monkeypatch):
        (tmp_path / "toy_audit.py").write_text(MODULE)
        (tmp_path / "toy_fails.py").write_text("raise ValueError('S3CR3T')")
        monkeypatch.syspath_prepend(tmp_path)
        import toy_audit  # type: ignore[import-not-found]

        yield toy_audit
        monkeypatch.undo()
        import sys

        sys.modules.pop("toy_audit", None)

    def open(self, module, names, **options):
        config = {"keyManagement": {"provider": "a", "a": {"type": "toy"}, "observers": names}}
        return config, KeyManager.open(config, providers={"toy": module}, environ={}, **options)

    @pytest.mark.parametrize("name", ["toy_audit:audit", "toy_audit:space.audit"])
    def test_named(self, audit, module, name, watcher):
        _, keys = self.open(module, [name], observers=[watcher])
        with keys:
            keys.encrypt(b"x", context={})
        assert audit.audit.names == ["encrypt"]
        assert len(watcher.seen) == 1

    @pytest.mark.parametrize(
        "name",
        ["toy_audit:none", "toy_nowhere:audit", "toy_fails:audit", "toy_audit:Audit", "toy_audit"],
    )
    def test_bad(self, audit, module, name):
        with pytest.raises(ConfigError) as caught:
            self.open(module, [name])
        assert "S3CR3T" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None

    def test_reload_takes_new_ones(self, audit, module):
        config, keys = self.open(module, ["toy_audit:audit"])
        with keys:
            config["keyManagement"]["observers"] = ["toy_audit:other"]
            keys.reload()
            keys.encrypt(b"x", context={})
            assert (audit.audit.names, audit.other.names) == ([], ["encrypt"])
            config["keyManagement"]["observers"] = ["toy_audit:missing"]
            with pytest.raises(ConfigError):
                keys.reload()
            config["keyManagement"]["observers"] = ["no_such_module:audit"]
            with pytest.raises(ConfigError, match="name its folder in PYTHONPATH"):
                keys.reload()
            keys.encrypt(b"x", context={})
            assert audit.other.names == ["encrypt", "encrypt"]


class TestCounters:
    """What a provider counts is shown with each result."""

    @pytest.fixture
    def counting(self, variant):
        """A provider that counts."""

        def make(answer):
            return variant(keyhinge_counters=hookimpl(lambda self: answer()))

        return make

    def test_after_each_call(self, opened, watcher, counting):
        numbers = iter(range(100))
        keys = opened("a", using=counting(lambda: {"hits": next(numbers)}), observers=[watcher])
        value = keys.encrypt(SECRET, context=CONTEXT)
        keys.decrypt(value, context=CONTEXT)
        keys.decrypt_many([Decrypt(value, CONTEXT)])
        assert [result.counters for _, result in watcher.seen] == [
            {"hits": 0},
            {"hits": 1},
            {"hits": 2},
        ]

    def test_none(self, opened, watcher):
        opened("a", observers=[watcher]).encrypt(SECRET, context=CONTEXT)
        assert watcher.seen[0][1].counters == {}

    def test_several_sections(self, opened, watcher, counting):
        keys = opened("a", "b", using=counting(lambda: {"hits": 1}), observers=[watcher])
        values = [keys.encrypt(SECRET, context={}, section=name) for name in "ab"]
        keys.decrypt_many([Decrypt(value, {}) for value in values])
        assert watcher.seen[-1][1].counters == {}

    @pytest.mark.parametrize("answer", [None, {"hits": "many"}, {1: 1}, {"on": True}])
    def test_rubbish_loses_no_result(self, opened, watcher, counting, caplog, answer):
        keys = opened("a", using=counting(lambda: answer), observers=[watcher])
        value = keys.encrypt(SECRET, context={})
        assert keys.decrypt(value, context={}) == SECRET
        assert watcher.seen[0][1].counters == {}
        assert "counters can't be told" in caplog.text
