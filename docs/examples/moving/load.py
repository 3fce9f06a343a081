"""The load: what customers do to the application, and a journal of it.

The bank of this example gives tokens that can be foretold from their revision. So everybody who
reads one can tell whether it is the right one, without a second place in which it is kept.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event

from service import BankTokens, Key, Token

PAUSE = 0.01  # seconds between two things that a customer does


def issue(key: Key, revision: int) -> Token:
    """Get a token from the bank."""
    return Token(key, revision, f"access-{key.account_id}-{key.bank}-{revision}")


class WrongTokenError(Exception):
    """A token was read that nobody has written."""


@dataclass
class Journal:
    """What was done, to prove later that nothing of it is lost."""

    reads: int = 0
    added: list[Key] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)
    replaced: Counter[Key] = field(default_factory=Counter)
    error: str = ""

    @property
    def writes(self) -> int:
        """How many tokens were written or deleted."""
        return len(self.added) + len(self.removed) + self.replaced.total()


class Customer(threading.Thread):
    """Uses the application until it is told to stop, or until something goes wrong.

    Args:
        tokens: The application.
        stop: Tells it to stop.
        account: An account of its own, to which it adds tokens.
    """

    def __init__(self, tokens: BankTokens, stop: Event, account: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.stop = stop
        self.account = account
        self.keys: list[Key] = []
        self.journal = Journal()

    def run(self) -> None:
        """Do one thing after the other."""
        actions: dict[Callable[[], object], int] = {
            self.read: 6,
            self.replace: 3,
            self.replace_two: 3,
            self.add: 1,
            self.remove: 1,
        }
        try:
            while not self.stop.is_set():
                self.keys = self.tokens.all_keys()
                for action in random.choices(list(actions), list(actions.values()), k=20):
                    action()
                    time.sleep(PAUSE)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not happen
            self.journal.error = f"{type(error).__name__}: {error}"
            self.stop.set()

    def read(self) -> Token | None:
        """Read a token, and look whether it is right."""
        found = self.tokens.read(random.choice(self.keys))
        self.journal.reads += 1
        if found is not None and found != issue(found.key, found.revision):
            msg = f"the token of {found.key} isn't the one that was written"
            raise WrongTokenError(msg)
        return found

    def replace(self, count: int = 1) -> None:
        """Get the next token for what is there."""
        found = {token.key: token for token in (self.read() for _ in range(count)) if token}
        # Backwards through the keys: a migration that waited for locks would deadlock with this.
        old = [found[key] for key in sorted(found, reverse=True)]
        if self.tokens.replace(*(issue(token.key, token.revision + 1) for token in old)):
            self.journal.replaced.update(found.keys())

    def replace_two(self) -> None:
        """The same for two tokens in one transaction."""
        self.replace(2)

    def add(self) -> None:
        """Connect another bank."""
        key = Key(self.account, f"bank-{len(self.journal.added)}")
        self.tokens.add([issue(key, 0)])
        self.journal.added.append(key)

    def remove(self) -> None:
        """Disconnect a bank."""
        found = self.read()
        if found is not None and self.tokens.remove(found):
            self.journal.removed.append(found.key)
