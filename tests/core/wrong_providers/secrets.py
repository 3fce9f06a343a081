"""Wrong about secrets: they show in errors, reprs, logs and pickles."""

from __future__ import annotations

import logging

from tests.core.wrong_providers._right import Right, wrong

from keyhinge import Failure, InvalidCiphertextError, UnavailableError, hookimpl

log = logging.getLogger("a-provider")


class ClientError(Exception):
    """What a client library raises: it has the request, the token with it."""


@wrong("R22", "test_raised_errors_are_bare")
class ChainsItsCause(Right):
    """Raises within the `except` block."""

    def open(self, value, context):
        try:
            raise ClientError(f"X-Token: {self.token.reveal()}")
        except ClientError:
            raise InvalidCiphertextError from None


@wrong("R22", "test_raised_errors_are_bare")
class ChainsOnPurpose(Right):
    """Says where it came from."""

    def open(self, value, context):
        cause = ClientError(f"X-Token: {self.token.reveal()}")
        raise InvalidCiphertextError from cause


@wrong("R22", "test_errors_show_no_secret")
class ShowsTheTokenInErrors(Right):
    """Repeats what the service said."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return [UnavailableError(f"no answer for {self.token.reveal()}")] * len(items)


@wrong("R22", "test_errors_show_no_secret")
class ShowsTheTokenInFailures(Right):
    """Keeps the request for those who look deeper."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        failure = Failure(type="ClientError", reason=f"X-Token: {self.token.reveal()}")
        return [UnavailableError("no answer", failure=failure)] * len(items)


@wrong("R22", "test_errors_show_no_secret")
class ShowsTheCiphertext(Right):
    """Tells which value it was."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return [InvalidCiphertextError(f"not {item.value.ciphertext.hex()}") for item in items]


@wrong("R23", "test_repr_shows_no_secret")
class ShowsTheTokenInItsRepr(Right):
    """Has the repr that a data class would give it."""

    def __repr__(self):
        return f"ShowsTheTokenInItsRepr(token={self.token.reveal()!r})"


@wrong("R23", "test_repr_shows_no_secret")
class ShowsWhatItEncryptedLast(Right):
    """Remembers a plaintext, and shows it."""

    last = b""

    def seal(self, plaintext, context):
        self.last = plaintext
        return super().seal(plaintext, context)

    def __repr__(self):
        return f"<provider, last {self.last!r}>"


@wrong("R23", "test_no_pickle_and_no_copy")
class CanBePickled(Right):
    """Turns off what core has put in the way."""

    def __reduce__(self):
        return str, ("pickled",)


@wrong("R28", "test_logs_show_no_secret")
class LogsTheToken(Right):
    """Logs its requests."""

    def key(self):
        log.debug("asking with %s", self.token.reveal())
        return super().key()


@wrong("R28", "test_logs_show_no_secret")
class LogsThePlaintext(Right):
    """Logs what it works on."""

    def seal(self, plaintext, context):
        log.info("encrypting %r", plaintext)
        return super().seal(plaintext, context)
