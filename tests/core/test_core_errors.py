"""The errors: their tree, pickling, and that nothing secret hangs on them."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import types
import weakref

import attrs
import pytest

import keyhinge
from keyhinge import (
    ConfigError,
    Encrypt,
    Failure,
    InvalidCiphertextError,
    KeyhingeError,
    OperationError,
    Problem,
    ProviderContractError,
    ProviderError,
    SecretFileError,
    ThrottledError,
    UnavailableError,
    hookimpl,
)
from keyhinge._observers import Seen

SECRET = "S3CR3T-plaintext-marker"
ALL = [
    value
    for value in vars(keyhinge).values()
    if isinstance(value, type) and issubclass(value, KeyhingeError)
]
OPERATION = [kind for kind in ALL if issubclass(kind, OperationError)]


class TestTree:
    def test_as_documented(self):
        names = {
            "InvalidCiphertextError", "InvalidPlaintextError", "InvalidContextError",
            "SectionNotConfiguredError", "KeyUnavailableError", "AccessDeniedError",
            "ThrottledError", "UnavailableError", "ProviderContractError", "OperationError",
        }  # fmt: skip
        assert {kind.__name__ for kind in OPERATION} == names
        providers = {kind.__name__ for kind in ALL if issubclass(kind, ProviderError)}
        assert providers == {
            "ProviderError", "ProviderNotFoundError", "ProviderConflictError", "ProviderLoadError",
        }  # fmt: skip

    @pytest.mark.parametrize("kind", OPERATION)
    def test_retryable(self, kind):
        error = kind("m")
        assert error.retryable is (kind in {ThrottledError, UnavailableError})
        assert kind("m", retryable=not error.retryable).retryable is not error.retryable
        assert (error.section, error.operation, error.failure) == (None, None, None)

    def test_section_in_front(self):
        assert str(UnavailableError("is sealed", section="vault")) == "vault: is sealed"
        assert str(UnavailableError("is sealed")) == "is sealed"

    def test_one_message_for_what_no_cipher_can_tell_apart(self):
        message = str(InvalidCiphertextError())
        assert "another row" in message
        assert "encryption context" in message
        assert "associated data" in message


class TestCopies:
    @pytest.mark.parametrize("kind", OPERATION)
    @pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
    def test_operation_errors(self, kind, again):
        failure = Failure("Timeout", 503, "Sealed", "r-1", "no answer")
        error = kind("is down", section="vault", operation="decrypt", retryable=True)
        error.failure = failure
        found = again(error)
        assert type(found) is kind
        assert str(found) == str(error) == "vault: is down"
        assert (found.section, found.operation) == ("vault", "decrypt")
        assert (found.retryable, found.failure) == (True, failure)
        assert str(again(found)) == str(error)  # the section isn't put in front once more

    @pytest.mark.parametrize("kind", [ConfigError, SecretFileError])
    def test_config_errors(self, kind):
        problems = (Problem("keyManagement.a", "is wrong", 3), Problem("", "no", None, "warning"))
        error = kind(problems, source="config.yaml")
        found = pickle.loads(pickle.dumps(error))
        assert (type(found), found.problems, str(found)) == (kind, problems, str(error))
        assert "keyManagement.a (line 3): is wrong" in str(error)
        assert copy.copy(error).problems == problems

    @pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in OPERATION])
    def test_others(self, kind):
        found = pickle.loads(pickle.dumps(kind("what is wrong")))
        assert (type(found), str(found)) == (kind, "what is wrong")


class TestConfigErrorMessages:
    def test_one_and_several(self):
        assert str(ConfigError("no file")) == "no file"
        assert str(ConfigError(Problem("a.b", "no"), source="f")) == "f: a.b: no"
        both = str(ConfigError([Problem("a", "no"), Problem("", "never", 2)]))
        assert both == "2 problems in the configuration:\n  - a: no\n  - line 2: never"


def reachable_from(error: BaseException) -> set[str]:
    """All text and bytes that an exception refers to, in frames of the library too."""
    found: set[str] = set()
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes):
            found.add(thing.decode("latin-1"))
        elif isinstance(thing, str):
            found.add(thing)
        elif isinstance(thing, types.FrameType):
            if "keyhinge" in thing.f_code.co_filename and "tests" not in thing.f_code.co_filename:
                todo += thing.f_locals.values()
        elif isinstance(thing, types.TracebackType):
            todo += [thing.tb_frame, thing.tb_next]
        elif isinstance(thing, BaseException):
            todo += [thing.args, vars(thing), thing.__cause__, thing.__context__]
            todo += [thing.__traceback__]
        elif isinstance(thing, tuple | list | set):
            todo += list(thing)
        elif isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, types.FunctionType):
            todo += thing.__closure__ or ()
        elif isinstance(thing, types.CellType):
            todo += gc.get_referents(thing)
        elif isinstance(thing, functools.partial):
            todo += [thing.func, thing.args, thing.keywords]
        elif isinstance(thing, Encrypt | Seen):
            todo += [getattr(thing, field.name) for field in attrs.fields(type(thing))]
    return found


class ClientError(Exception):
    """A client library's exception, with all that shouldn't get out."""


def fail_deeply(kind):
    """A hook that handles a client's exception badly in each way there is."""

    def hook(self, value, context):
        token = SECRET
        try:
            raise ClientError(f"POST /decrypt with token {token}")
        except ClientError as error:
            if kind is None:
                raise
            raise kind("the service said no") from error

    hook.__annotations__ = {}
    return hookimpl(hook)


def dies(call):
    """Whether a call's error is gone once it was handled, without the garbage collector."""
    error = None
    try:
        call()
    except KeyhingeError as raised:
        error = weakref.ref(raised)
    assert error is not None
    return error() is None


@pytest.mark.parametrize("observers", [False, True])
class TestNothingHangsOn:
    class Watcher:
        """An observer."""

        @hookimpl(wrapper=True)
        def keyhinge_operation(self, operation):
            """Do nothing."""
            return (yield)

    def watchers(self, observers):
        return [self.Watcher()] if observers else []

    @pytest.mark.parametrize("kind", [None, UnavailableError, InvalidCiphertextError, ConfigError])
    def test_decrypt(self, opened, variant, kind, observers):
        using = variant(keyhinge_decrypt=fail_deeply(kind))
        keys = opened("a", using=using, observers=self.watchers(observers))
        value = keys.encrypt(SECRET.encode(), context={})
        with pytest.raises(OperationError) as caught:
            keys.decrypt(value, context={})
        error = caught.value
        assert error.__cause__ is error.__context__ is None
        assert (error.section, error.operation) == ("a", "decrypt")
        assert not [text for text in reachable_from(error) if SECRET in text]
        assert SECRET not in repr(error)
        assert SECRET not in pickle.dumps(error).decode("latin-1")

    @pytest.mark.parametrize("kind", [None, UnavailableError])
    def test_encrypt(self, opened, variant, kind, observers):
        fail = fail_deeply(kind)

        @hookimpl
        def encrypt(self, plaintext, context):
            fail(self, plaintext, context)

        keys = opened(
            "a", using=variant(keyhinge_encrypt=encrypt), observers=self.watchers(observers)
        )
        for section in (None, "a"):
            with pytest.raises(OperationError) as caught:
                keys.encrypt(SECRET.encode(), context={}, section=section)
            error = caught.value
            assert error.__cause__ is error.__context__ is None
            assert (error.section, error.operation) == ("a", "encrypt")
            assert not [text for text in reachable_from(error) if SECRET in text]

    def test_own_refusals(self, opened, module, variant, observers):
        @hookimpl
        def lie(self, value, context):
            return SECRET

        using = variant(keyhinge_decrypt=lie)
        keys = opened("a", using=using, observers=self.watchers(observers))
        value = keys.encrypt(b"x", context={})
        for call in (
            lambda: keys.decrypt(value, context={}),
            lambda: keys.encrypt(SECRET, context={}),
            lambda: keys.encrypt(SECRET.encode(), context=None),
            lambda: keys.encrypt(SECRET.encode(), context={"": "x"}),
            lambda: keys.encrypt(SECRET.encode(), context={}, section="nowhere"),
        ):
            with pytest.raises(KeyhingeError) as caught:
                call()
            assert caught.value.__cause__ is caught.value.__context__ is None
            assert not [text for text in reachable_from(caught.value) if SECRET in text]

    def test_batches(self, opened, variant, observers):
        fail = fail_deeply(None)

        @hookimpl
        def decrypt_many(self, items):
            fail(self, items, {})

        keys = opened(
            "a",
            using=variant(keyhinge_decrypt_many=decrypt_many),
            observers=self.watchers(observers),
        )
        value = keys.encrypt(SECRET.encode(), context={})
        (outcome,) = keys.decrypt_many([keyhinge.Decrypt(value, {})])
        assert type(outcome.error) is ProviderContractError
        with pytest.raises(ProviderContractError) as caught:
            _ = outcome.value
        assert not [text for text in reachable_from(caught.value) if SECRET in text]

    def test_errors_leave_no_circles(self, opened, observers):
        """They go away with their last user, and the frames that they refer to do as well."""
        keys = opened("a", observers=self.watchers(observers))
        value = keys.encrypt(b"x", context={})
        calls = [
            lambda: keys.encrypt(b"x", context={"": ""}),
            lambda: keys.encrypt(None, context={}),
            lambda: keys.decrypt(value, context={"a": "b"}),
            lambda: keys.rewrap(value, context={"a": "b"}),
        ]
        gc.collect()
        gc.disable()
        try:
            for call in calls:
                assert dies(call)
        finally:
            gc.enable()

    def test_the_search_finds(self, observers):
        """The search above would see what it looks for."""

        def leak():
            try:
                raise ClientError(SECRET)
            except ClientError as cause:
                raise UnavailableError("x") from cause

        with pytest.raises(UnavailableError) as caught:
            leak()
        assert [text for text in reachable_from(caught.value) if SECRET in text]
