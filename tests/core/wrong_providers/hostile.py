"""Wrong about what a database may hold: changed, cut, forged and planted values."""

from __future__ import annotations

import hmac
from typing import Any, ClassVar

from tests.core.wrong_providers._right import NONCE, TAG, Right, wrong

from keyhinge import InvalidCiphertextError, KeyUnavailableError, OperationError, hookimpl


@wrong("R12", "test_changed_bytes_are_refused")
class DoesNotAuthenticate(Right):
    """Decrypts whatever it gets."""

    def open(self, value, context):
        if len(value.ciphertext) < TAG + NONCE:
            raise InvalidCiphertextError
        body = value.ciphertext[TAG:]
        return self.stream(body[:NONCE], body[NONCE:])


@wrong("R12", "test_cut_and_lengthened_values_are_refused")
class SwallowsErrors(Right):
    """Gives nothing where it should raise."""

    def open(self, value, context):
        try:
            return super().open(value, context)
        except OperationError:
            return b""


@wrong("R12", "test_cut_and_lengthened_values_are_refused")
class TakesWhatIsBehind(Right):
    """Reads the length from the value, and lets the rest stand."""

    def tag(self, data, context):
        return super().tag(data[: NONCE + 30], context)

    def stream(self, nonce, data):
        return super().stream(nonce, data[:30])


@wrong("R13", "test_a_forged_key_id_is_refused")
class IgnoresTheKeyId(Right):
    """Never looks at it."""

    def open(self, value, context):
        tag, body = value.ciphertext[:TAG], value.ciphertext[TAG:]
        if value.version != self.version or not hmac.compare_digest(tag, self.tag(body, context)):
            raise InvalidCiphertextError
        return self.stream(body[:NONCE], body[NONCE:])


@wrong("R13", "test_a_forged_version_is_not_believed")
class BelievesTheVersion(Right):
    """Decrypts with whichever version it is told, authenticated or not."""

    def open(self, value, context):
        if value.key_id != self.key_id:
            raise KeyUnavailableError("it isn't this section's key")
        body = value.ciphertext[TAG:]
        plaintext = self.stream(body[:NONCE], body[NONCE:])
        return plaintext if value.version == self.version else plaintext[::-1]


@wrong("R13", "test_a_planted_key_id_is_not_believed")
class LooksTheKeyUp(Right):
    """Sends the value's key id to a service that has everybody's keys."""

    service: ClassVar[dict[str, bytes]] = {}

    def __init__(self, settings, section):
        super().__init__(settings, section)
        self.service[self.key_id] = self.token.reveal().encode()
        self.asked = self.key_id

    def key(self):
        return self.service[self.asked]

    def open(self, value, context):
        if value.key_id not in self.service:
            raise KeyUnavailableError("there is no such key")
        own = self.key_id
        self.key_id = self.asked = value.key_id
        try:
            return super().open(value, context)
        finally:
            self.key_id = self.asked = own


@wrong("R14", "test_a_strangers_key_opens_nothing")
class SharesItsKey(Right):
    """Keeps the key with the class: the section that is configured last wins."""

    shared = b""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        SharesItsKey.shared = self.token.reveal().encode()

    def key(self):
        return self.shared

    def bound(self, context):
        return b""

    def open(self, value, context):
        self.key_id = value.key_id
        return super().open(value, context)


@wrong("R14", "test_closing_one_section_leaves_the_others")
class ClosesForAll(Right):
    """Has one pool for all sections."""

    pool: Any = None

    def __init__(self, settings, section):
        super().__init__(settings, section)
        ClosesForAll.pool = object()

    def key(self):
        if self.pool is None:
            raise OperationError("the pool was closed")
        return super().key()

    @hookimpl
    def keyhinge_close(self):
        ClosesForAll.pool = None


@wrong("R21", "test_errors_are_of_the_family")
class RaisesItsOwn(Right):
    """Leaves it to the client library what is raised."""

    def open(self, value, context):
        if value.ciphertext[:1] == b"\xff":
            raise LookupError("no such thing")
        return super().open(value, context)
