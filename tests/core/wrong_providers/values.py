"""Wrong about one value: what it returns, what shows, what is used twice, what is bound."""

from __future__ import annotations

import base64
import itertools

from tests.core.wrong_providers._right import NONCE, Right, wrong

from keyhinge import Sealed


@wrong("R6", "test_round_trip")
class StripsZeros(Right):
    """Takes its padding away, and what the plaintext ended with."""

    def open(self, value, context):
        return super().open(value, context).rstrip(b"\0")


@wrong("R6", "test_round_trip")
class TakesBytesForText(Right):
    """Goes through a text encoding."""

    def open(self, value, context):
        return super().open(value, context).decode("utf-8", "replace").encode()


@wrong("R6", "test_size_limits")
class CutsWhatIsLarge(Right):
    """Keeps 64 KiB."""

    def seal(self, plaintext, context):
        return super().seal(plaintext[: 64 * 1024], context)


@wrong("R7", "test_hooks_return_what_they_promise")
class ReturnsNone(Right):
    """Says nothing where it should say no."""

    def open(self, value, context):
        return None


@wrong("R7", "test_hooks_return_what_they_promise")
class SealsToNone(Right):
    """Forgets to return."""

    def seal(self, plaintext, context):
        super().seal(plaintext, context)


@wrong("R7", "test_hooks_return_what_they_promise")
class ReturnsATuple(Right):
    """Has the right parts in the wrong type."""

    def seal(self, plaintext, context):
        return tuple(super().seal(plaintext, context))


@wrong("R7", "test_hooks_return_what_they_promise")
class ReturnsAnEmptyCiphertext(Right):
    """Has nothing in it."""

    def seal(self, plaintext, context):
        return Sealed(b"", self.key_id, self.version)


@wrong("R7", "test_hooks_return_what_they_promise")
class HasAKeyIdWithSpaces(Right):
    """Has a label that no value can have."""

    def seal(self, plaintext, context):
        return super().seal(plaintext, context)._replace(key_id="my key")


@wrong("R8", "test_plaintext_does_not_show")
class ReturnsThePlaintext(Right):
    """Signs, but doesn't encrypt."""

    def stream(self, nonce, data):
        return data


@wrong("R8", "test_plaintext_does_not_show")
class EncodesOnly(Right):
    """Takes base64 for encryption."""

    def seal(self, plaintext, context):
        body = self.nonce() + base64.b64encode(plaintext)
        return Sealed(self.tag(body, context) + body, self.key_id, self.version)


@wrong("R9", "test_equal_plaintexts_differ")
class ReusesNonces(Right):
    """Has one nonce for all."""

    def nonce(self):
        return bytes(NONCE)


@wrong("R9", "test_equal_plaintexts_differ")
class CountsNonces(Right):
    """Begins at zero in every instance."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        self.numbers = itertools.count()

    def nonce(self):
        return next(self.numbers).to_bytes(NONCE, "big")


@wrong("R9", "test_no_key_stream_is_used_twice")
class HidesAReusedNonce(Right):
    """Puts random bytes in front, and encrypts with a stream that doesn't depend on them."""

    def stream(self, nonce, data):
        return super().stream(b"", data)


@wrong("R10", "test_value_opens_only_under_its_context")
class IgnoresTheContext(Right):
    """Takes it, and does nothing with it."""

    def bound(self, context):
        return super().bound({})


@wrong("R10", "test_value_opens_only_under_its_context")
class JoinsTheContext(Right):
    """Puts keys and values in a row, so that different contexts are the same."""

    def bound(self, context):
        joined = "".join(f"{key}{value}" for key, value in sorted(context.items()))
        return super().bound({}) + joined.encode()


@wrong("R10", "test_value_opens_only_under_its_context")
class BindsTheKeysOnly(Right):
    """Looks at half of it."""

    def bound(self, context):
        return super().bound(dict.fromkeys(context, "x"))


@wrong("R10", "test_value_opens_only_under_its_context")
class MindsTheOrder(Right):
    """Encodes the context as it comes."""

    def bound(self, context):
        return super().bound({}) + repr(dict(context)).encode()


@wrong("R11", "test_context_uses_all_its_room")
class KnowsLatinLettersOnly(Right):
    """Can't encode what others write in."""

    def bound(self, context):
        for value in context.values():
            value.encode("latin-1")
        return super().bound(context)


@wrong("R11", "test_context_uses_all_its_room")
class ReplacesLetters(Right):
    """Takes all that isn't ASCII for question marks."""

    def bound(self, context):
        plain = {key: value.encode("ascii", "replace").decode() for key, value in context.items()}
        return super().bound(plain)


@wrong("R11", "test_context_uses_all_its_room")
class CutsTheContext(Right):
    """Binds 255 bytes of each value."""

    def bound(self, context):
        return super().bound({key: value[:255] for key, value in context.items()})
