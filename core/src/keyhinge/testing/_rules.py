"""The rules of the provider contract, numbered, so that a failing case can say which one it is.

The numbers are stable: a rule that is dropped leaves a gap, and a new one gets the next number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import attrs

__all__ = ["RULES", "Rule"]

PAGE = "reference/hooks"


@attrs.frozen
class Rule:
    """One rule of the contract between core and a provider.

    Attributes:
        id: Its number, as in `R7`.
        text: The rule in one sentence.
    """

    id: str
    text: str

    @property
    def anchor(self) -> str:
        """The anchor in the hook reference."""
        return self.id.lower()

    @property
    def link(self) -> str:
        """Where the rule is written down: in the documentation that the package names, if any."""
        # Not at the top: it brings the whole of `email` along.
        from importlib.metadata import PackageNotFoundError, metadata

        urls: list[str] = []
        with contextlib.suppress(PackageNotFoundError):  # run from its source
            urls = metadata("keyhinge").get_all("Project-URL") or []
        for label, _, url in (line.partition(", ") for line in urls):
            if label.lower() == "documentation":
                return f"{url.rstrip('/')}/{PAGE}.html#{self.anchor}"
        return f"docs/{PAGE}.md#{self.anchor}"

    def __str__(self) -> str:
        return f"{self.id}: {self.text}"


_TEXTS = {
    1: "The entry point's target has `keyhinge_api`, `keyhinge_settings` and `keyhinge_configure`, "
    "and every hook is marked and has exactly the arguments of its specification.",
    2: "`keyhinge_configure` is pure: it connects nowhere, reads no file and starts no program.",
    3: "Configuring can be repeated: equal settings give providers that open each other's values.",
    4: "Neither importing the module nor `keyhinge_configure` imports the client library; the "
    "first operation does.",
    5: "No property of a provider connects or reads a file: tools look at all of an object's "
    "attributes.",
    6: "What was encrypted decrypts to the same bytes, for every size that `capabilities` "
    "promises.",
    7: "Each hook returns exactly what its signature says, never `None` in place of a result.",
    8: "A provider that encrypts leaves nothing of the plaintext in the ciphertext; one that "
    "doesn't encrypt says so with `encrypts=False`.",
    9: "Each encryption is fresh: no nonce and no key stream is used twice, whichever section or "
    "instance encrypts.",
    10: "The whole context is authenticated: a value opens under exactly its own context, in "
    "whatever order its keys are; a provider that can't do that says so with "
    "`binds_context=False`.",
    11: "Every context that Keyhinge's own rules allow works, in its full size and in any "
    "alphabet.",
    12: "A ciphertext that was changed, cut, lengthened or made up is an "
    "`InvalidCiphertextError`, never a result.",
    13: "The key id and version in a value are compared with what is configured, never believed "
    "and never sent.",
    14: "Sections are apart: a value opens with no other section's key, and closing one section "
    "leaves the others working.",
    15: "A batch's answer has one entry for each item, in their order, and gives what single calls "
    "give.",
    16: "One bad item of a batch fails alone, with an error of its own.",
    17: "Rewrapping gives the same plaintext under the current key and version.",
    18: "`keyhinge_current_key` tells the key id and version that a new value really gets.",
    19: "A nowait hook does no I/O: it gives what the plain hook would give, or `None`.",
    20: "`keyhinge_check` returns findings and raises nothing; where all is well none is an error.",
    21: "What fails raises an error of `OperationError`'s family, never one of the provider's own "
    "or of its client library.",
    22: "No error chains another one, and none shows a secret, a plaintext or a ciphertext.",
    23: "A provider shows no secret in its repr, and can't be pickled or copied.",
    24: "Hooks work when many threads call them at once.",
    25: "A forked child can go on encrypting and decrypting, and so can its parent.",
    26: "`keyhinge_close` may be called more than once, and before the first use.",
    27: "Every hook comes back: what it waits for has a limit in time.",
    28: "No log record shows a secret, a plaintext or a ciphertext.",
}

RULES: Mapping[str, Rule] = {
    f"R{number}": Rule(f"R{number}", text) for number, text in _TEXTS.items()
}
"""All rules, by their ids."""
