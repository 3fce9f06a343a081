"""The tree of errors, from the classes; an error without advice is an error here."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from _markdown import paragraphs

import keyhinge
import keyhinge_local
import keyhinge_store
from keyhinge import KeyhingeError, OperationError
from keyhinge_cli._exit import code_of
from keyhinge_store import StoreError

MODULES = (keyhinge, keyhinge_local, keyhinge_store)
ADVICE = {
    "KeyhingeError": "Catch it where you want to catch everything that Keyhinge raises on purpose.",
    "ConfigError": "Show it to the operator: each problem names its key, its line and what to do.",
    "SecretFileError": "Put the file there, or let this process's user read it.",
    "KeyFileError": (
        "Do what the message says: it has owner, mode, our uid and the command that mends it. "
        "Where the file is missing, put its backup there. A new one opens none of the old values."
    ),
    "ClosedError": "A bug in the caller: open another one, and close it after its last use.",
    "ProviderError": "Catch it for all three below.",
    "ProviderNotFoundError": "Install what the message's `pip` line names, or correct the name.",
    "ProviderConflictError": "Uninstall one of the two packages that the message names.",
    "ProviderLoadError": "Reinstall or upgrade the package that the message names.",
    "OperationError": "Look at `retryable`: the same call may succeed later, or it never will.",
    "InvalidCiphertextError": (
        "Never write over the value. Check that the context is exactly the one it was encrypted "
        "with, then that the row is its own. If both are right, somebody changed the value."
    ),
    "InvalidPlaintextError": "Give bytes of a size that the provider takes.",
    "InvalidContextError": "Correct the context; the message says which rule it breaks.",
    "SectionNotConfiguredError": (
        "Put the section back into the file, or list its old name under `aliases` of the section "
        "that it was renamed to."
    ),
    "KeyUnavailableError": "Bring the key back: enable it, cancel its deletion, restore its file.",
    "AccessDeniedError": "Give this process the permission, or new credentials.",
    "ThrottledError": "Try again later, with longer pauses.",
    "UnavailableError": (
        "Try again later. Don't treat the secret as missing, and write nothing over it."
    ),
    "ProviderContractError": "Report it to the authors of the package that the message names.",
    "StoreError": "Catch it for everything that is about the database and not about keys.",
    "SecretNotFoundError": "Check account and id. An outage is never reported as this.",
    "DuplicateSecretError": "Decide which of the two should win.",
    "DowngradeError": "Nothing was written. Pass `allow_downgrade=True` if you mean it.",
    "NotTextError": "Use `get`, which gives bytes.",
    "DatabaseError": "Look `sqlstate` up in the database's manual and its log.",
    "DatabaseUnavailableError": "Try again later.",
    "DatabaseMissingError": "Correct the URL, or make the database with `keyhinge store init`.",
    "TableMissingError": "Make it with `keyhinge store init`, `create_tables()` or Alembic.",
    "ForeignTableError": "Choose another table name: `table=`, or `store: {table: …}`.",
    "FenceError": "Migrate what is in the way, or do what the message says.",
    "FencedError": (
        "Read the configuration, or the row, again and save it anew. If the section encrypts again "
        "on purpose, `keyhinge fence remove` first."
    ),
    "MappingError": "Mend the entry under `store: {tables: …}`; the message has everything.",
    "MigrationError": "Do what the message says, then start it again.",
    "MigrationRunningError": "Wait until the other one is done, or has ended.",
    "MigrationStoppedError": "Mend the reason, then run it again. It goes on where it stopped.",
}


def generate() -> dict[str, str]:
    """Return the tree and a chapter about each error."""
    tree = "\n".join(f"{'  ' * depth}{cls.__name__}" for depth, cls in walk(KeyhingeError))
    chapters = [chapter(cls) for _, cls in walk(KeyhingeError)]
    return {"errors-tree.md": f"```text\n{tree}\n```\n", "errors.md": "\n".join(chapters)}


def walk(cls: type[KeyhingeError], depth: int = 0) -> Iterator[tuple[int, type[KeyhingeError]]]:
    """Yield a class and its public subclasses with their depth."""
    if any(cls.__name__ in module.__all__ for module in MODULES):
        yield depth, cls
        for child in cls.__subclasses__():
            yield from walk(child, depth + 1)


def chapter(cls: type[KeyhingeError]) -> str:
    """Write one error's chapter."""
    module = cls.__module__.partition(".")[0]
    lines = [
        f"### {cls.__name__}",
        "",
        f"`from {module} import {cls.__name__}`",
        "",
        paragraphs(inspect.getdoc(cls)),
        "",
        f"**What to do.** {ADVICE[cls.__name__]}",
        "",
        f"**Retryable:** {retryable(cls)}. **Exit code:** {exit_code(cls)}.",
        "",
    ]
    return "\n".join(lines)


def retryable(cls: type[KeyhingeError]) -> str:
    """Tell whether trying again can help."""
    if cls is KeyhingeError:
        return "depends on the class"
    if cls.__name__ in {"OperationError", "MigrationStoppedError", "StoreError"}:
        return "see the attribute `retryable`"
    if issubclass(cls, OperationError):
        return "yes" if cls("").retryable else "no"
    return "yes" if issubclass(cls, StoreError) and cls.retryable else "no"


def exit_code(cls: type[KeyhingeError]) -> str:
    """Tell the command's exit code for this error."""
    error = cls.__new__(cls)
    codes = []
    for answer in (False, True) if retryable(cls).startswith("see") else (None,):
        if answer is not None:
            error.__dict__["retryable"] = answer
        elif issubclass(cls, OperationError):
            error.__dict__["retryable"] = retryable(cls) == "yes"
        codes.append(str(code_of(error)))
    return " or, if retryable, ".join(dict.fromkeys(codes))
