"""Cases about keys: what encrypts now, rewrapping, checks, and the hooks that don't wait."""

from __future__ import annotations

from keyhinge import Capabilities, CheckReport, Decrypt, KeyManager
from keyhinge._context import check_context
from keyhinge.testing._base import Bench
from keyhinge.testing._case import checks, expect
from keyhinge.testing._guard import guarded

__all__ = ["KeyCases"]


class KeyCases(Bench):
    """What a provider tells about its keys is so."""

    @checks("R17")
    def test_rewrap_gives_the_same_plaintext_under_the_current_key(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Rewrapped values open as before and are under what `current_key` tells."""
        context = self._context(keys)
        values = [keys.encrypt(plaintext, context=context) for _ in range(3)]
        again = [out.value for out in keys.rewrap_many([Decrypt(v, context) for v in values])]
        again.append(keys.rewrap(values[0], context=context))
        current = keys.current_key()
        for value in again:
            expect(
                keys.decrypt(value, context=context) == plaintext,
                "a rewrapped value opens to another plaintext",
            )
            expect(
                value.key_id == current.key_id and value.version in {"", current.version},
                "a rewrapped value isn't under the current key and version",
            )
            expect(
                capabilities.key_versions or not value.version,
                "a value has a version, and its capabilities lack key_versions=True: "
                "`keyhinge rewrap` would refuse",
            )

    @checks("R18")
    def test_current_key_is_what_encrypts(self, keys: KeyManager, plaintext: bytes) -> None:
        """`current_key` tells the key id and version that a new value really gets."""
        value = keys.encrypt(plaintext, context={})
        current = keys.current_key()
        expect(
            value.key_id == current.key_id,
            f"it tells the key {current.key_id!r}, and a new value has {value.key_id!r}",
        )
        expect(
            value.version in {"", current.version},
            f"it tells the version {current.version!r}, and a new value has {value.version!r}",
        )

    @checks("R19")
    def test_nowait_hooks_do_no_io(self, keys: KeyManager, plaintext: bytes) -> None:
        """The nowait hooks give the same as the others, or None, without any I/O."""
        section = self._section(keys)
        context = check_context(self._context(keys))
        value = section.seal(plaintext, context)
        section.open(value, context)
        self._only(
            any(name.endswith("_nowait") for name in section.hooks), "it has no nowait hooks"
        )
        with guarded() as guard:
            failure = None
            made = opened = None
            try:
                made = section.seal_nowait(plaintext, context)
                opened = section.open_nowait(value, context)
            except Exception as error:  # noqa: BLE001 - told below
                failure = error
        expect(not guard.done, f"a nowait hook {' and '.join(dict.fromkeys(guard.done))}")
        if failure is not None:
            raise failure
        expect(opened in {None, plaintext}, "keyhinge_decrypt_nowait gave another plaintext")
        if made is not None:
            again = section.open(made, context)
            expect(again == plaintext, "what keyhinge_encrypt_nowait made opens to something else")

    @checks("R20")
    def test_check_reports(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """`check` gives findings, without an error where all is well."""
        report = keys.check()
        expect(isinstance(report, CheckReport), "it gave no CheckReport")
        errors = [finding.message for finding in report.findings if finding.level == "error"]
        expect(not errors, "; ".join(errors))
        codes = {finding.code for finding in report.findings}
        expect(
            ("not-encrypted" in codes) is not capabilities.encrypts,
            "the check says otherwise than the capabilities whether it encrypts",
        )
