"""Cases about secrets: nothing shows them. No message here repeats what it found."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from keyhinge import (
    Decrypt,
    EncryptedValue,
    KeyhingeError,
    KeyManager,
    Secret,
)
from keyhinge._context import check_context
from keyhinge.testing._base import SHORTEST, STRANGER, Bench
from keyhinge.testing._case import checks, expect, refused
from keyhinge.testing._support import reachable_text, recorded, with_changes

__all__ = ["SecretCases"]


class SecretCases(Bench):
    """No repr, error or log record shows a plaintext, a ciphertext or a secret setting."""

    @checks("R22")
    def test_errors_show_no_secret(self, keys: KeyManager, plaintext: bytes) -> None:
        """No error of an operation chains another one, and none shows a secret."""
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        secrets = self._secrets(keys, plaintext, value)
        bad = self._bad(keys, value)
        for outcome in keys.decrypt_many([Decrypt(each, context) for each in bad]):
            if outcome.error is not None:
                _is_bare(outcome.error, secrets)

    @checks("R22")
    def test_raised_errors_are_bare(self, keys: KeyManager, plaintext: bytes) -> None:
        """What the provider itself raises chains nothing, before core takes it in hand."""
        context = check_context(self._context(keys))
        value = keys.encrypt(plaintext, context=context)
        secrets = self._secrets(keys, plaintext, value)
        hook = self._section(keys).decrypt
        for bad in self._bad(keys, value):
            failure: Exception | None = None
            try:
                hook(bad, context)
            except Exception as error:  # noqa: BLE001 - told apart below
                failure = error
            # Of any other error core shows the name alone; that is another rule's affair.
            if isinstance(failure, KeyhingeError):
                _is_bare(failure, secrets)

    @checks("R23")
    def test_repr_shows_no_secret(self, keys: KeyManager, plaintext: bytes) -> None:
        """The provider's repr is bare, before its first use and afterwards."""
        provider = self._provider(keys)
        secrets = self._secrets(keys, plaintext, None)
        for _ in range(2):
            for shown in (repr(provider), str(provider), f"{provider}"):
                for name, secret in secrets.items():
                    expect(secret not in shown, f"the provider's repr shows {name}")
            keys.encrypt(plaintext, context={})

    @checks("R23")
    def test_no_pickle_and_no_copy(self, keys: KeyManager) -> None:
        """The provider and its settings refuse to be pickled and copied."""
        for what, thing in (
            ("the provider", self._provider(keys)),
            ("its settings", self._settings(keys)),
        ):
            refused(lambda thing=thing: pickle.dumps(thing), TypeError, f"{what} can be pickled")  # type: ignore[misc]
            refused(lambda thing=thing: copy.deepcopy(thing), TypeError, f"{what} can be copied")  # type: ignore[misc]

    @checks("R28")
    def test_logs_show_no_secret(self, keys: KeyManager, plaintext: bytes) -> None:
        """Whatever is logged, down to DEBUG, shows no secret."""
        context = self._context(keys)
        with recorded() as records, keys.clone() as again:
            value = again.encrypt(plaintext, context=context)
            again.decrypt(value, context=context)
            again.check()
            again.decrypt_many([Decrypt(bad, context) for bad in self._bad(again, value)])
        for name, secret in self._secrets(keys, plaintext, value).items():
            for logger, text in records:
                expect(secret not in text, f"a record of the logger {logger!r} shows {name}")

    def _bad(self, keys: KeyManager, value: EncryptedValue) -> list[EncryptedValue]:
        made = [
            with_changes(value, ciphertext=b"\x01bad"),
            with_changes(value, ciphertext=value.ciphertext[:-1] + b"\0"),
            with_changes(value, key_id="other"),
        ]
        if STRANGER in keys.sections:
            made.append(with_changes(value, section=STRANGER))
        return made

    def _redacted(self, keys: KeyManager, text: str) -> str:
        """Take out of a text what mustn't show."""
        for settings in self._all_settings(keys):
            for _, secret in _secrets_of(settings):
                text = text.replace(secret, "(redacted)")
        return text

    def _secrets(
        self, keys: KeyManager, plaintext: bytes, value: EncryptedValue | None
    ) -> dict[str, str]:
        """Give what mustn't show, by what to call it."""
        found = {f"the setting {name}": text for name, text in _secrets_of(self._settings(keys))}
        found["the plaintext"] = plaintext.decode("latin-1")
        if value is not None:
            found["the ciphertext"] = value.to_text().rpartition(":")[2]
            found["the ciphertext in hex"] = value.ciphertext.hex()
        return {name: text for name, text in found.items() if len(text) >= SHORTEST}


def _secrets_of(settings: Any, path: str = "") -> Iterator[tuple[str, str]]:
    for field in attrs.fields(type(settings)):
        member = getattr(settings, field.name)
        members = member.items() if isinstance(member, Mapping) else [("", member)]
        for key, each in members:
            name = f"{path}{field.name}{f'.{key}' if key else ''}"
            if isinstance(each, Secret):
                with contextlib.suppress(KeyhingeError):  # a file that can't be read shows nothing
                    yield name, each.reveal()
            elif attrs.has(type(each)):
                yield from _secrets_of(each, f"{name}.")


def _is_bare(failure: BaseException, secrets: Mapping[str, str]) -> None:
    kind = type(failure).__name__
    cause = failure.__cause__ or failure.__context__
    expect(
        cause is None,
        f"{kind} chains {type(cause).__name__}: raise it outside of the `except` block",
    )
    shown = reachable_text(failure)
    for name, secret in secrets.items():
        expect(secret not in shown, f"an error ({kind}) shows {name}")
