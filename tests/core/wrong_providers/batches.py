"""Wrong about batches, and about keys and checks."""

from __future__ import annotations

from pathlib import Path

from tests.core.wrong_providers._right import Right, each, wrong

from keyhinge import (
    Capabilities,
    CheckReport,
    Finding,
    InvalidCiphertextError,
    KeyRef,
    OperationError,
    hookimpl,
)


@wrong("R15", "test_batches_keep_order")
class AnswersInAnotherOrder(Right):
    """Gives the last one first."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return each(items, lambda item: self.open(item.value, item.context))[::-1]


@wrong("R15", "test_batches_keep_order")
class EncryptsInAnotherOrder(Right):
    """Sorts by size."""

    @hookimpl
    def keyhinge_encrypt_many(self, items):
        return sorted(each(items, lambda item: self.seal(item.plaintext, item.context)))


@wrong("R15", "test_batches_keep_order")
class AnswersTooFew(Right):
    """Leaves one out."""

    @hookimpl
    def keyhinge_encrypt_many(self, items):
        return each(items[1:], lambda item: self.seal(item.plaintext, item.context))


@wrong("R15", "test_batches_keep_order")
class AnswersTooMany(Right):
    """Has one over."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return [*each(items, lambda item: self.open(item.value, item.context)), b"more"]


def limited(items):
    """What a service says that takes only a hundred."""
    if len(items) > 100:
        raise OperationError("the service refuses the request")
    return items


@wrong("R15", "test_a_large_batch_is_answered")
class SendsABatchAsItIs(Right):
    """Doesn't cut it."""

    @hookimpl
    def keyhinge_encrypt_many(self, items):
        return each(limited(items), lambda item: self.seal(item.plaintext, item.context))


@wrong("R15", "test_a_large_batch_is_answered")
class RewrapsABatchAsItIs(Right):
    """Doesn't cut it where it rewraps."""

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        return each(
            limited(items),
            lambda item: self.seal(self.open(item.value, item.context), item.context),
        )


@wrong("R17", "test_rewrap_gives_the_same_plaintext_under_the_current_key")
class ForgetsItsCapability(Right):
    """Tells versions, and not that there are any."""

    capabilities = Capabilities(encrypts=True, binds_context=True)


@wrong("R15", "test_batches_keep_order")
class BindsTheFirstContext(Right):
    """Takes the first item's context for all."""

    @hookimpl
    def keyhinge_encrypt_many(self, items):
        return each(items, lambda item: self.seal(item.plaintext, items[0].context))


@wrong("R15", "test_rewrapped_batches_keep_order")
class RewrapsInAnotherOrder(Right):
    """Gives the last one first."""

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        # Under the contexts of their places, so that it isn't found out by these.
        opened = each(items, lambda item: self.open(item.value, item.context))[::-1]
        return [self.seal(p, item.context) for p, item in zip(opened, items, strict=True)]


@wrong("R16", "test_one_bad_item_fails_alone")
class FailsAWholeBatch(Right):
    """Raises for one item."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return [self.open(item.value, item.context) for item in items]


@wrong("R16", "test_one_bad_item_fails_alone")
class HidesABadItem(Right):
    """Gives nothing where there is an error."""

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        answers = each(items, lambda item: self.open(item.value, item.context))
        return [answer if isinstance(answer, bytes) else b"" for answer in answers]


@wrong("R16", "test_one_bad_item_is_not_rewrapped")
class FailsAWholeRewrap(Right):
    """Raises for one item."""

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        return [self.seal(self.open(item.value, item.context), item.context) for item in items]


@wrong("R17", "test_rewrap_gives_the_same_plaintext_under_the_current_key")
class RewrapsToSomethingElse(Right):
    """Encrypts the ciphertext once more."""

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        return each(items, lambda item: self.seal(item.value.ciphertext, item.context))


@wrong("R17", "test_rewrap_gives_the_same_plaintext_under_the_current_key")
class RewrapsUnderAnOldVersion(Right):
    """Has a label that isn't the current one, and knows both."""

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        return each(
            items,
            lambda item: self.seal(self.open(item.value, item.context), item.context)._replace(
                version="0"
            ),
        )

    def open(self, value, context):
        if value.version not in {"0", "1"}:
            raise InvalidCiphertextError
        return super().open(
            type(value)(value.section, value.key_id, "1", value.ciphertext), context
        )


@wrong("R18", "test_current_key_is_what_encrypts")
class ReportsAWrongVersion(Right):
    """Tells the newest version, and encrypts with another one."""

    @hookimpl
    def keyhinge_current_key(self):
        return KeyRef(self.key_id, "2")


@wrong("R18", "test_current_key_is_what_encrypts")
class ReportsAWrongKey(Right):
    """Tells the alias, and labels values with what is behind it."""

    @hookimpl
    def keyhinge_current_key(self):
        return KeyRef("alias/mine", self.version)


@wrong("R19", "test_nowait_hooks_do_no_io")
class WaitsInNowait(Right):
    """Reads its key file where nobody may wait."""

    @hookimpl
    def keyhinge_encrypt_nowait(self, plaintext, context):
        Path(__file__).read_bytes()
        return self.seal(plaintext, context)


@wrong("R19", "test_nowait_hooks_do_no_io")
class DecryptsOtherwiseInNowait(Right):
    """Has two ways to decrypt, and they differ."""

    @hookimpl
    def keyhinge_decrypt_nowait(self, value, context):
        return b"cached"


@wrong("R20", "test_check_reports")
class CheckRaises(Right):
    """Raises what it should tell."""

    @hookimpl
    def keyhinge_check(self):
        raise InvalidCiphertextError


@wrong("R20", "test_check_reports")
class CheckFindsErrors(Right):
    """Finds an error where all is well."""

    @hookimpl
    def keyhinge_check(self):
        return CheckReport([Finding("error", "odd", "it can't tell")])


@wrong("R20", "test_check_reports")
class CheckReturnsAList(Right):
    """Gives findings without a report."""

    @hookimpl
    def keyhinge_check(self):
        return [Finding("ok", "fine", "it is fine")]
