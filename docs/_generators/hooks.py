"""The reference of the hooks, from the specifications in `keyhinge._hookspecs`.

A hook's argument that isn't described in `ARGUMENTS` is an error, so that none can be forgotten.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from _markdown import paragraphs

from keyhinge import _hookspecs as specs

ARGUMENTS = {
    "settings": "an instance of the module's `keyhinge_settings`, structured and checked.",
    "section": "the section that is being configured: `name`, `path`, `base_dir` and `over()`.",
    "plaintext": "the bytes to encrypt. Core has checked their number against `capabilities`.",
    "context": (
        "the context, a read-only mapping that core has checked. `encode_context(context)` and "
        "`canonical(…)` give bytes to authenticate."
    ),
    "value": (
        "the encrypted value, with `key_id`, `version` and `ciphertext`. It comes from a database, "
        "so it may be forged."
    ),
    "operation": "what is about to happen. It never holds a plaintext or a ciphertext.",
}
# `items` means another thing in each direction.
ITEMS = {
    "keyhinge_encrypt_many": "a sequence of `Encrypt`: `plaintext` and `context` each.",
    "keyhinge_decrypt_many": "a sequence of `Decrypt`: `value` and `context` each.",
    "keyhinge_rewrap_many": "a sequence of `Decrypt`: `value` and `context` each.",
}
WITHOUT = {
    "keyhinge_encrypt_many": "core calls `keyhinge_encrypt` for each item",
    "keyhinge_decrypt_many": "core calls `keyhinge_decrypt` for each item",
    "keyhinge_rewrap_many": "core decrypts each item and encrypts it again",
    "keyhinge_encrypt_nowait": "core runs `keyhinge_encrypt` in a thread",
    "keyhinge_decrypt_nowait": "core runs `keyhinge_decrypt` in a thread",
    "keyhinge_current_key": "core encrypts one byte and looks at its key id and version",
    "keyhinge_data_key": "`rewrap --new-data-keys` refuses the section",
    "keyhinge_check": "a check has core's own findings only",
    "keyhinge_counters": "observers see no counters of the section",
    "keyhinge_close": "nothing is called when the section closes",
}


def generate() -> dict[str, str]:
    """Return the parts of the page by file name."""
    provider = [
        *[_hook(specs.Provider, name, "Required.") for name in specs.REQUIRED_HOOKS],
        *[
            _hook(specs.Provider, name, f"Optional. Without it {WITHOUT[name]}.")
            for name in specs.OPTIONAL_HOOKS
        ],
    ]
    return {
        "hooks-module.md": _hook(specs.ModuleSpecs, "keyhinge_configure", "Required."),
        "hooks-provider.md": "\n".join(provider),
        "hooks-observer.md": _hook(
            specs.ObserverSpecs, "keyhinge_operation", "The only hook of an observer."
        ),
    }


def _hook(owner: type, name: str, status: str) -> str:
    hook: Callable[..., Any] = getattr(owner, name)
    signature = inspect.signature(hook)
    written = f"def {name}{signature}"
    if owner is specs.ModuleSpecs:  # a function of the module
        written = written.replace("self, ", "")
    lines = [f"### `{name}`", "", "<!-- not run: a signature -->", "```python", written, "```", ""]
    # Arguments are written below, for all hooks alike.
    text = paragraphs(hook.__doc__).partition("**Arguments**")[0].strip()
    lines += [status, "", text.replace(" Required.", ""), ""]
    for argument in list(signature.parameters)[1:]:
        meaning = ITEMS[name] if argument == "items" else ARGUMENTS[argument]
        lines.append(f"- `{argument}`: {meaning}")
    return "\n".join(lines) + "\n"
