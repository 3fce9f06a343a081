"""Providers that lie: what they return and raise is checked, in single calls and in batches."""

from __future__ import annotations

from typing import Any

import pytest

from keyhinge import (
    Capabilities,
    CheckReport,
    Decrypt,
    Encrypt,
    EncryptedValue,
    Finding,
    InvalidContextError,
    InvalidPlaintextError,
    KeyRef,
    ProviderContractError,
    Sealed,
    ThrottledError,
    UnavailableError,
    hookimpl,
)

SECRET = "S3CR3T-marker"


def giving(*names, result):
    """A hook with these arguments that gives a result, or raises it if it is an exception."""
    source = f"def hook(self, {', '.join(names)}): return tell()"
    scope = {"tell": lambda: result() if callable(result) else result}
    exec(source, scope)
    return hookimpl(scope["hook"])


def raising(error):
    """Something to call that raises."""

    def tell():
        raise error

    return tell


class Label(str):
    """A subclass of str."""

    __slots__ = ()


sealed: Any = Sealed  # for arguments of wrong types
NOT_SEALED: list[Any] = [
    None, b"", b"ciphertext", "text", (b"x", "k", "1"), [b"x"], {}, 0, Sealed,
    sealed(b"", "k", "1"), sealed("x", "k", "1"), sealed(bytearray(b"x"), "k", "1"),
    sealed(None, "k", "1"), sealed(b"x", None, "1"), sealed(b"x", "k", None),
    sealed(b"x", "k", 1), sealed(b"x", b"k", "1"), sealed(b"x", "k k", "1"),
    sealed(b"x", "k" * 513, "1"), sealed(b"x", "k", "1:2"), sealed(b"x", "k", "v" * 65),
    sealed(b"x", "ké", "1"), sealed(b"x", "k\n", "1"),
]  # fmt: skip
NOT_BYTES = [None, "text", bytearray(b"x"), memoryview(b"x"), (b"x",), 0, ["x"], object()]


class TestEncrypt:
    @pytest.mark.parametrize("result", NOT_SEALED)
    def test_rubbish(self, opened, variant, result):
        hook = hookimpl(lambda self, plaintext, context: result)
        keys = opened("a", using=variant(keyhinge_encrypt=hook))
        with pytest.raises(ProviderContractError, match="broke its contract in encrypt") as caught:
            keys.encrypt(b"x", context={})
        assert "provider of the application" in str(caught.value)
        assert caught.value.section == "a"

    @pytest.mark.parametrize(
        ("result", "says"),
        [
            (Sealed(b"x", "my key"), "its key id isn't at most 512 printable ASCII characters"),
            (Sealed(b"x", "my key"), "without spaces"),
            (Sealed(b"x", "k", "1 2"), "its version isn't at most 64 letters"),
            (Sealed(b""), "its ciphertext is empty"),
        ],
    )
    def test_the_author_is_told_the_rule_where_core_labels_it(self, opened, variant, result, says):
        one = hookimpl(lambda self, plaintext, context: result)
        many = hookimpl(lambda self, items: [result] * len(items))
        keys = opened("a", using=variant(keyhinge_encrypt=one, keyhinge_encrypt_many=many))
        (outcome,) = keys.encrypt_many([Encrypt(b"x", {})])
        with pytest.raises(ProviderContractError) as caught:
            keys.encrypt(b"x", context={})
        for error in (caught.value, outcome.error):
            assert "isn't an encrypted value (rule R7): " in str(error)
            assert says in str(error)

    def test_a_good_label_does_not_excuse_a_bad_one(self, opened, variant):
        results = [Sealed(b"x", "k", "1"), Sealed(b"x", "k", "1 2"), Sealed(b"x", "k", "1")]
        hook = hookimpl(lambda self, plaintext, context: results.pop())
        keys = opened("a", using=variant(keyhinge_encrypt=hook))
        assert keys.encrypt(b"x", context={}).version == "1"
        with pytest.raises(ProviderContractError):
            keys.encrypt(b"x", context={})
        assert keys.encrypt(b"x", context={}).version == "1"

    def test_generator_and_coroutine(self, opened, variant):
        def steps():
            yield Sealed(b"x")

        hook = hookimpl(lambda self, plaintext, context: steps())
        with pytest.raises(ProviderContractError, match="it gave generator"):
            opened("a", using=variant(keyhinge_encrypt=hook)).encrypt(b"x", context={})


class TestDecrypt:
    @pytest.mark.parametrize("result", NOT_BYTES)
    def test_rubbish(self, opened, variant, result):
        hook = hookimpl(lambda self, value, context: result)
        keys = opened("a", using=variant(keyhinge_decrypt=hook))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(ProviderContractError, match=r"in decrypt: it gave .*, not bytes"):
            keys.decrypt(value, context={})
        (outcome,) = keys.decrypt_many([Decrypt(value, {})])
        assert isinstance(outcome.error, ProviderContractError)
        with pytest.raises(ProviderContractError):
            keys.rewrap(value, context={})

    def test_ciphertext_is_never_handed_out_as_plaintext(self, opened, variant):
        """A provider that gives the value itself back is found out."""
        hook = hookimpl(lambda self, value, context: value)
        keys = opened("a", using=variant(keyhinge_decrypt=hook))
        with pytest.raises(ProviderContractError):
            keys.decrypt(keys.encrypt(b"x", context={}), context={})


class TestRaising:
    @pytest.mark.parametrize(
        "error", [ValueError(SECRET), KeyError(SECRET), StopIteration(SECRET), AssertionError()]
    )
    def test_of_its_own(self, opened, variant, error):
        @hookimpl
        def decrypt(self, value, context):
            raise error

        keys = opened("a", using=variant(keyhinge_decrypt=decrypt))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(ProviderContractError) as caught:
            keys.decrypt(value, context={})
        assert SECRET not in str(caught.value)
        assert type(error).__name__ in str(caught.value)
        assert caught.value.failure is not None
        assert caught.value.failure.type == type(error).__name__
        assert not caught.value.retryable

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
    def test_what_ends_programs_goes_through(self, opened, variant, error):
        """A signal handler may raise these wherever the program is."""

        @hookimpl
        def decrypt(self, value, context):
            raise error

        keys = opened("a", using=variant(keyhinge_decrypt=decrypt))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(type(error)) as caught:
            keys.decrypt(value, context={})
        assert caught.value is error

    def test_ours_is_kept(self, opened, variant):
        error = ThrottledError("asks to wait", operation="login")

        @hookimpl
        def decrypt(self, value, context):
            raise error

        keys = opened("a", using=variant(keyhinge_decrypt=decrypt))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(ThrottledError) as caught:
            keys.decrypt(value, context={})
        assert caught.value is error
        assert (error.section, error.operation, error.retryable) == ("a", "login", True)


class TestBatches:
    ITEMS = 3

    def items(self, keys):
        return [Decrypt(keys.encrypt(b"x", context={}), {}) for _ in range(self.ITEMS)]

    @pytest.mark.parametrize(
        "answer",
        [
            None, [], [b"x"] * 2, [b"x"] * 4, iter([b"x"] * 3), {1: b"x"}, {b"x", b"y", b"z"}, 3,
            Sealed, (x for x in [b"x"] * 3),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["encrypt", "decrypt", "rewrap"])
    def test_not_an_answer_for_each(self, opened, variant, name, answer):
        hook = hookimpl(lambda self, items: answer)
        keys = opened("a", using=variant(**{f"keyhinge_{name}_many": hook}))
        for outcome in self.run(keys, name):
            assert isinstance(outcome.error, ProviderContractError)
            assert outcome.error.operation == name

    @pytest.mark.parametrize("answer", ["abc", b"abc", [None] * 3, ["x"] * 3, [ValueError] * 3])
    @pytest.mark.parametrize("name", ["encrypt", "decrypt", "rewrap"])
    def test_bad_items(self, opened, variant, name, answer):
        hook = hookimpl(lambda self, items: answer)
        keys = opened("a", using=variant(**{f"keyhinge_{name}_many": hook}))
        outcomes = self.run(keys, name)
        assert len(outcomes) == self.ITEMS
        for outcome in outcomes:
            assert isinstance(outcome.error, ProviderContractError)
            assert outcome.error.operation == name

    def run(self, keys, name):
        if name == "encrypt":
            return keys.encrypt_many([Encrypt(b"x", {})] * self.ITEMS)
        return getattr(keys, f"{name}_many")(self.items(keys))

    def test_one_bad_item(self, opened, variant):
        answers = [b"good", ValueError(SECRET), UnavailableError("is down")]
        hook = hookimpl(lambda self, items: answers)
        keys = opened("a", using=variant(keyhinge_decrypt_many=hook))
        good, strange, ours = keys.decrypt_many(self.items(keys))
        assert good.value == b"good"
        assert type(strange.error) is ProviderContractError
        assert SECRET not in str(strange.error)
        assert (type(ours.error), ours.error.section) == (UnavailableError, "a")

    def test_an_answer_that_raises_when_it_is_read(self, opened, variant):
        class Lazy(list):  # type: ignore[type-arg]
            """Raises late."""

            def __iter__(self):
                raise RuntimeError(SECRET)

        hook = hookimpl(lambda self, items: Lazy([1, 2, 3]))
        keys = opened("a", using=variant(keyhinge_decrypt_many=hook))
        for outcome in keys.decrypt_many(self.items(keys)):
            assert type(outcome.error) is ProviderContractError
            assert SECRET not in str(outcome.error)

    def test_a_provider_cannot_change_the_batch(self, opened, variant):
        @hookimpl
        def encrypt_many(self, items):
            items.pop()

        keys = opened("a", using=variant(keyhinge_encrypt_many=encrypt_many))
        outcomes = keys.encrypt_many([Encrypt(b"x", {})] * 3)
        assert [type(outcome.error) for outcome in outcomes] == [ProviderContractError] * 3

    def test_empty_batches_call_nothing(self, opened, variant):
        hook = hookimpl(lambda self, items: 1 / 0)
        names = ("keyhinge_encrypt_many", "keyhinge_decrypt_many", "keyhinge_rewrap_many")
        keys = opened("a", using=variant(**dict.fromkeys(names, hook)))
        assert keys.encrypt_many([]) == keys.decrypt_many([]) == keys.rewrap_many([]) == []


class TestOtherHooks:
    @pytest.mark.parametrize("result", [None, ("k", "1"), "k", KeyRef("k k"), KeyRef("k", None)])  # type: ignore[arg-type]
    def test_current_key(self, opened, variant, result):
        hook = hookimpl(lambda self: result)
        keys = opened("a", using=variant(keyhinge_current_key=hook))
        with pytest.raises(ProviderContractError, match="KeyRef"):
            keys.current_key()

    @pytest.mark.parametrize("result", [None, b"k", "", "k" * 129, "k\0", "ké", "k\n"])
    def test_data_key(self, opened, variant, result):
        hook = hookimpl(lambda self, value: result)
        keys = opened("a", using=variant(keyhinge_data_key=hook))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(ProviderContractError, match="128 printable"):
            keys.data_key_of(value)

    @pytest.mark.parametrize("result", [None, [], [Finding("ok", "x", "y")], "fine"])
    def test_check(self, opened, variant, result):
        hook = hookimpl(lambda self: result)
        report = opened("a", using=variant(keyhinge_check=hook)).check()
        assert not report.ok
        (finding,) = (finding for finding in report.findings if finding.level == "error")
        assert finding.code == "provider-check"

    def test_check_that_raises(self, opened, variant):
        @hookimpl
        def check(self):
            raise ValueError(SECRET)

        report = opened("a", using=variant(keyhinge_check=check)).check()
        assert not report.ok
        assert SECRET not in repr(report)

    def test_close_that_raises(self, opened, variant, caplog):
        @hookimpl
        def close(self):
            raise ValueError(SECRET)

        keys = opened("a", "b", using=variant(keyhinge_close=close))
        keys.close()
        assert caplog.text.count("closing its provider failed: ValueError") == 2
        assert SECRET not in caplog.text

    def test_findings_are_passed_on(self, opened, variant):
        finding = Finding("warning", "token-expiry", "ends soon", {"seconds": 60})
        hook = hookimpl(lambda self: CheckReport([finding]))
        report = opened("a", using=variant(keyhinge_check=hook)).check()
        assert finding in report.findings
        assert report.ok


class TestCapabilities:
    def test_sizes(self, opened, variant):
        caps = Capabilities(encrypts=True, binds_context=True, min_plaintext=2, max_plaintext=4)
        keys = opened("a", using=variant(capabilities=caps))
        for size in (2, 3, 4):
            keys.encrypt(b"x" * size, context={})
        for size in (0, 1, 5):
            with pytest.raises(InvalidPlaintextError, match=f"has {size} bytes; .* 2 to 4"):
                keys.encrypt(b"x" * size, context={})
        outcomes = keys.encrypt_many([Encrypt(b"x" * size, {}) for size in (1, 2, 5)])
        assert [type(outcome.error) for outcome in outcomes] == [
            InvalidPlaintextError, type(None), InvalidPlaintextError,
        ]  # fmt: skip

    @pytest.mark.parametrize("plaintext", ["text", bytearray(b"x"), memoryview(b"x"), None, 1])
    def test_only_bytes(self, opened, plaintext):
        keys = opened("a")
        with pytest.raises(InvalidPlaintextError, match="must be bytes"):
            keys.encrypt(plaintext, context={})
        (outcome,) = keys.encrypt_many([Encrypt(plaintext, {})])
        assert type(outcome.error) is InvalidPlaintextError

    def test_the_formats_limit(self, opened):
        keys = opened("a")
        with pytest.raises(InvalidPlaintextError, match="takes 0 to 67108864"):
            keys.encrypt(bytes(64 * 1024 * 1024 + 1), context={})

    def test_probes_fit(self, opened, variant):
        """Sections that take only small or only large values can be tried out too."""
        for low, high in ((0, 3), (100, 200), (0, None)):
            caps = Capabilities(
                encrypts=True, binds_context=True, min_plaintext=low, max_plaintext=high
            )
            keys = opened("a", using=variant(capabilities=caps), fail_fast=True)
            assert keys.health().ok
            assert keys.check().ok
            assert keys.current_key() == KeyRef("toy", "1")


class TestUnboundContext:
    """A provider that encrypts and can't bind a context: refused instead of ignored."""

    @pytest.fixture
    def keys(self, opened, variant):
        caps = Capabilities(encrypts=True, binds_context=False, blocking=False)

        @hookimpl
        def encrypt(self, plaintext, context):
            return Sealed(b"x" + plaintext, "k", "1")

        @hookimpl
        def decrypt(self, value, context):
            return value.ciphertext[1:]

        return opened(
            "a",
            using=variant(capabilities=caps, keyhinge_encrypt=encrypt, keyhinge_decrypt=decrypt),
        )

    def test_empty_context_works(self, keys):
        value = keys.encrypt(b"x", context={})
        assert keys.decrypt(value, context={}) == b"x"
        assert keys.rewrap(value, context={}) == value
        assert keys.check().ok
        assert keys.health().ok
        assert keys.current_key() == KeyRef("k", "1")

    def test_refused_everywhere(self, keys):
        value = keys.encrypt(b"x", context={})
        context = {"account": "1"}
        for operation, call in (
            ("encrypt", lambda: keys.encrypt(b"x", context=context)),
            ("decrypt", lambda: keys.decrypt(value, context=context)),
            ("decrypt", lambda: keys.rewrap(value, context=context)),
        ):
            with pytest.raises(InvalidContextError, match=r"only \{\} is possible") as caught:
                call()
            assert caught.value.operation == operation
        for outcomes in (
            keys.encrypt_many([Encrypt(b"x", context), Encrypt(b"x", {})]),
            keys.decrypt_many([Decrypt(value, context), Decrypt(value, {})]),
            keys.rewrap_many([Decrypt(value, context), Decrypt(value, {})]),
        ):
            assert [type(x.error) for x in outcomes] == [InvalidContextError, type(None)]

    def test_with_hooks_for_batches(self, opened, variant):
        caps = Capabilities(encrypts=True, binds_context=False)
        keys = opened(
            "a",
            using=variant(
                capabilities=caps,
                keyhinge_decrypt_many=hookimpl(lambda self, items: [b"y"] * len(items)),
                keyhinge_rewrap_many=hookimpl(lambda self, items: [Sealed(b"y")] * len(items)),
            ),
        )
        value = EncryptedValue("a", "k", "1", b"x")
        items = [Decrypt(value, {"a": "1"}), Decrypt(value, {}), Decrypt(value, {"b": "1"})]
        for outcomes in (keys.decrypt_many(items), keys.rewrap_many(items)):
            kinds = [type(x.error) for x in outcomes]
            assert kinds == [InvalidContextError, type(None), InvalidContextError]

    def test_a_section_that_does_not_encrypt_ignores_it(self, opened, variant):
        caps = Capabilities(encrypts=False, binds_context=False)
        keys = opened("a", using=variant(capabilities=caps))
        value = keys.encrypt(b"x", context={"account": "1"})
        assert value.section == "a"
