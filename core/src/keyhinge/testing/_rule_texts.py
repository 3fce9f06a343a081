"""What the rules of the provider contract say: each one's sentence, its reason and its remedy."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TEXTS", "Wording"]


class Wording(NamedTuple):
    """A rule's sentence, why it is one, and what to do to keep it."""

    text: str
    reason: str
    remedy: str


TEXTS = {
    1: Wording(
        text="The entry point's target has `keyhinge_api`, `keyhinge_settings` and "
        "`keyhinge_configure`, and every hook is marked and has exactly the arguments of "
        "its specification.",
        reason="Core calls hooks directly and by position, for speed: another order of arguments "
        "would mix up what they mean.",
        remedy="Mark each hook with `@hookimpl`, and copy its line from the hook reference or "
        "from `help(keyhinge.Provider)`.",
    ),
    2: Wording(
        text="`keyhinge_configure` is pure: it connects nowhere, reads no file and starts no "
        "program.",
        reason="An application starts during an outage of its key service, and a forked child "
        "configures once more.",
        remedy="Keep the settings, and connect at the first operation. A secret's file is read "
        "by its `reveal()`, so call that late, too.",
    ),
    3: Wording(
        text="Configuring can be repeated: equal settings give providers that open each "
        "other's values.",
        reason="A value is opened years later, by another process that has nothing but the "
        "settings.",
        remedy="Let nothing that opens a value be made in `keyhinge_configure` or kept in an "
        "instance: no random salt, no key, no counter.",
    ),
    4: Wording(
        text="Neither importing the module nor `keyhinge_configure` imports the client "
        "library; the first operation does.",
        reason="Importing a client library takes time and may fail, and many who import the "
        "module never encrypt: `keyhinge providers`, say.",
        remedy="Import it in the function that makes the client. Types that are only written in "
        "annotations go under `if TYPE_CHECKING`.",
    ),
    5: Wording(
        text="No property of a provider connects or reads a file: tools look at all of an "
        "object's attributes.",
        reason="Debuggers, error reporters and plugin managers would connect by merely looking.",
        remedy="Make it a method.",
    ),
    6: Wording(
        text="What was encrypted decrypts to the same bytes, for every size that "
        "`capabilities` promises.",
        reason="A secret that comes back changed, or doesn't, is lost.",
        remedy="Take plaintexts as bytes, never as text, and the empty one too. Say in "
        "`min_plaintext` and `max_plaintext` what the service takes: core refuses the "
        "rest.",
    ),
    7: Wording(
        text="Each hook returns exactly what its signature says, never `None` in place of a "
        "result.",
        reason="Core believes no stranger's code: anything else is a `ProviderContractError`, so "
        "that no rubbish is stored.",
        remedy="Return `Sealed` with bytes that aren't empty, a key id of at most 512 printable "
        "ASCII characters without spaces, and a version of at most 64 of `A-Za-z0-9._-`. "
        "A key's name that can't be a key id is refused in the settings class. Decrypting "
        "gives `bytes`, not `bytearray`. What can't be done is an error that is raised.",
    ),
    8: Wording(
        text="A provider that encrypts leaves nothing of the plaintext in the ciphertext; one "
        "that doesn't encrypt says so with `encrypts=False`.",
        reason="Operators forbid unencrypted sections by what `capabilities` says.",
        remedy="Look at what really goes into the ciphertext: a service in a test mode may echo.",
    ),
    9: Wording(
        text="Each encryption is fresh: no nonce and no key stream is used twice, whichever "
        "section or instance encrypts.",
        reason="Equal ciphertexts tell that the plaintexts are equal. Two values under one nonce "
        "of AES-GCM tell how their plaintexts differ, and let others forge.",
        remedy="Take each nonce from `os.urandom`; never count, and never derive it from the "
        "plaintext.",
    ),
    10: Wording(
        text="The whole context is authenticated: a value opens under exactly its own context, "
        "in whatever order its keys are; a provider that can't do that says so with "
        "`binds_context=False`.",
        reason="Whoever can write to the database could otherwise give one account another one's "
        "value.",
        remedy="Pass `canonical(key_id, version, context)` as associated data, or "
        "`encode_context(context)`. Joining keys and values by hand makes two contexts "
        "look the same.",
    ),
    11: Wording(
        text="Every context that Keyhinge's own rules allow works, in its full size and in any "
        "alphabet.",
        reason="An application must be able to change its provider without changing its contexts.",
        remedy="Where the service takes only small or ASCII associated data, give it a SHA-256 "
        "of `encode_context(context)` in hex.",
    ),
    12: Wording(
        text="A ciphertext that was changed, cut, lengthened or made up is an "
        "`InvalidCiphertextError`, never a result.",
        reason="Values come from a database, where somebody may have changed them.",
        remedy="Use authenticated encryption, check lengths before you cut, and map the "
        "service's answer to a damaged value to `InvalidCiphertextError`.",
    ),
    13: Wording(
        text="The key id and version in a value are compared with what is configured, never "
        "believed and never sent.",
        reason="Whoever can write to the database would choose the key, the path in a URL, or "
        "another tenant's name.",
        remedy="Compare `value.key_id` with the configured one first, and raise "
        "`KeyUnavailableError` where it differs. Send the configured name, never the "
        "value's. Authenticate the version with the value, or compare it with the one in "
        "the ciphertext.",
    ),
    14: Wording(
        text="Sections are apart: a value opens with no other section's key, and closing one "
        "section leaves the others working.",
        reason="Sections are how an operator keeps tenants apart.",
        remedy="Keep clients and keys in the instance, never in the module or in the class.",
    ),
    15: Wording(
        text="A batch's answer has one entry for each item, in their order, and gives what "
        "single calls give.",
        reason="Core puts answers and items together by their places: in another order, rows get "
        "each other's secrets.",
        remedy="Put each answer into the place of its item, also where the service sorts or "
        "leaves out. A migration's batch has 1,000 items: cut it to what the service takes.",
    ),
    16: Wording(
        text="One bad item of a batch fails alone, with an error of its own.",
        reason="One damaged row would otherwise stop the migration of all of them.",
        remedy="Return the item's error in the place of its item. Raise only what concerns the "
        "whole call. Where the service refuses a batch for one item, ask once more item "
        "by item.",
    ),
    17: Wording(
        text="Rewrapping gives the same plaintext under the current key and version.",
        reason="A key version can be destroyed once nothing is under it any more.",
        remedy="Put the version that the service answers with into `Sealed.version`, and "
        "`key_versions=True` into the capabilities. Without a hook of yours, core decrypts and "
        "encrypts again.",
    ),
    18: Wording(
        text="`keyhinge_current_key` tells the key id and version that a new value really gets.",
        reason="`status` and `rewrap` compare stored values with it: told wrongly, nothing is "
        "ever finished.",
        remedy="Ask the service each time or leave the hook out: then core encrypts a probe and "
        "looks.",
    ),
    19: Wording(
        text="A nowait hook does no I/O: it gives what the plain hook would give, or `None`.",
        reason="It runs in an application's event loop, where all others wait for it.",
        remedy="Return `None` where anything must be read, asked or waited for; core then takes "
        "a thread.",
    ),
    20: Wording(
        text="`keyhinge_check` returns findings and raises nothing; where all is well none is "
        "an error.",
        reason="An operator wants to see all that is wrong, not just the first, and no false "
        "alarm.",
        remedy="Catch the errors of your own calls and make a `Finding` of each, with "
        '`data={"retryable": error.retryable}`.',
    ),
    21: Wording(
        text="What fails raises an error of `OperationError`'s family, never one of the "
        "provider's own or of its client library.",
        reason="Applications decide by the error's class whether to try again, and they don't "
        "know the provider.",
        remedy="Catch what the client library raises, `OSError` too, and map it by its code, "
        "never by its text. What you don't know becomes `OperationError`.",
    ),
    22: Wording(
        text="No error chains another one, and none shows a secret, a plaintext or a ciphertext.",
        reason="Errors end in logs and error reports, with all that hangs on them.",
        remedy="Remember what went wrong inside of `except`, raise outside of it, and write "
        "messages yourself. `from None` isn't enough: it hides the other one without "
        "letting go of it.",
    ),
    23: Wording(
        text="A provider shows no secret in its repr, and can't be pickled or copied.",
        reason="A repr ends in a log, and a pickle in a queue or a cache.",
        remedy="Keep secrets as `Secret` and reveal them where they are used. A class of yours "
        "that must hold one hides it in its repr. Leave `__reduce__` as `Provider` has "
        "it.",
    ),
    24: Wording(
        text="Hooks work when many threads call them at once.",
        reason="Servers and migrations call them from many threads, and core takes no lock.",
        remedy="Keep what belongs to one call in local variables. Make a shared client under a "
        "lock, and only share one that its makers call thread-safe.",
    ),
    25: Wording(
        text="A forked child can go on encrypting and decrypting, and so can its parent.",
        reason="Application servers fork once they are loaded; two processes on one connection "
        "read each other's answers.",
        remedy="Core configures anew in a child. So keep connections, threads and locks in the "
        "instance, never in the module.",
    ),
    26: Wording(
        text="`keyhinge_close` may be called more than once, and before the first use.",
        reason="It is called when the program ends as well, whatever happened before.",
        remedy="Take the client out of its attribute, and close it only if there was one.",
    ),
    27: Wording(
        text="Every hook comes back: what it waits for has a limit in time.",
        reason="A request without a limit holds a thread of the application for ever, and soon "
        "all of them.",
        remedy="Give the client time-outs for connecting and for reading. Where you try again, "
        "bound the whole of it.",
    ),
    28: Wording(
        text="No log record shows a secret, a plaintext or a ciphertext.",
        reason="Logs are read and kept by more people than the secrets in them.",
        remedy="Log neither requests nor answers. Turn off the client library's own debug log if "
        "it writes them.",
    ),
    29: Wording(
        text="Settings that can't be right are refused when the file is read, by a `ConfigError` "
        "that shows no value.",
        reason="`keyhinge config check` is to find what an operator typed wrongly, not the first "
        "value that is encrypted; and its output ends in the log of a deployment.",
        remedy="Check in the settings class whatever can be checked without the service, and raise "
        "`InvalidSettings` with a sentence for each key. The kit tries what `wrong_settings()` "
        "gives.",
    ),
}
"""By the rule's number."""
