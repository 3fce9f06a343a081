"""A small application for the demonstration: it keeps tokens in Keyhinge's store.

It remembers what it has written in `expected.json`, in plain text, to prove afterwards that
nothing was lost. A real application would never do that.
"""

from __future__ import annotations

import json
import random
import secrets
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from keyhinge import KeyManager
from keyhinge_store import NewSecret, SecretStore, open_store

EXPECTED = Path("expected.json")


def load() -> dict[str, str]:
    """Read what was written until now: the secret by `account/id`."""
    found: dict[str, str] = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    return found


def save(expected: dict[str, str]) -> None:
    """Note what was written, in one step."""
    temporary = EXPECTED.with_suffix(".new")
    temporary.write_text(json.dumps(expected))
    temporary.replace(EXPECTED)


def token() -> str:
    """Make a token that is easy to search for."""
    return f"access-token-{secrets.token_hex(8)}"


def fill(count: int) -> None:
    """Store `count` secrets."""
    expected = load()
    new = [NewSecret(f"acct_{number % 50}", "plaid", token()) for number in range(count)]
    with KeyManager.open() as keys, open_store(keys) as store:
        for each, secret_id in zip(new, store.put_many(new), strict=True):
            expected[f"{each.account_id}/{secret_id}"] = str(each.value)
    save(expected)
    print(f"stored {count:,} secrets")


class Writer:
    """Adds, replaces, reads and deletes secrets until it is told to stop."""

    def __init__(self, store: SecretStore) -> None:
        self.store = store
        self.expected = load()
        self.ids = [key for key in self.expected if key.startswith("acct_")]
        self.stopping = self.reloading = False
        self.done = {"added": 0, "replaced": 0, "read": 0, "deleted": 0}
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGHUP, self.reload)

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """End after the step that is running."""
        self.stopping = True

    def reload(self, _signal: int, _frame: FrameType | None) -> None:
        """Read the configuration again before the next step."""
        self.reloading = True

    def run(self) -> None:
        """Work, and report what was done each time."""
        report()
        while not self.stopping:
            if self.reloading:
                self.reloading = False
                self.store.keys.reload()
                report()
            self.step()
            time.sleep(0.002)
        save(self.expected)
        print("application: " + ", ".join(f"{what} {n:,}" for what, n in self.done.items()))

    def step(self) -> None:
        """Do one thing to one secret."""
        what = random.choice(["added", "replaced", "replaced", "read", "deleted"])
        chosen = random.choice(self.ids)
        account, secret_id = chosen.split("/")
        if what == "added":
            account, value = "acct_new", token()
            secret_id = self.store.put(account_id=account, kind="plaid", value=value)
            self.expected[f"{account}/{secret_id}"] = value
            self.ids.append(f"{account}/{secret_id}")
        elif what == "replaced":
            value = token()
            self.store.put(account_id=account, secret_id=secret_id, kind="plaid", value=value)
            self.expected[chosen] = value
        elif what == "read":
            found = self.store.get_text(account_id=account, secret_id=secret_id)
            if found != self.expected[chosen]:
                sys.exit(f"the application read something wrong from {chosen}")
        else:
            self.store.delete(account_id=account, secret_id=secret_id)
            del self.expected[chosen]
            self.ids.remove(chosen)
        self.done[what] += 1


def report() -> None:
    """Tell the demonstration that the configuration was read."""
    with Path("application.log").open("a") as log:
        log.write("configuration read\n")


def run() -> None:
    """Work until SIGTERM; SIGHUP reads the configuration again."""
    with KeyManager.open() as keys, open_store(keys) as store:
        Writer(store).run()


def prove() -> None:
    """Compare every secret in the store with what was written."""
    expected = load()
    with KeyManager.open() as keys, open_store(keys) as store:
        stored = [info.key for info in store.list()]
        found = {"/".join(key): outcome.value for key, outcome in store.get_many(stored).items()}
    if found != {key: value.encode() for key, value in expected.items()}:
        sys.exit("the store doesn't hold what was written")
    print(f"{len(found):,} secrets, each equal to what was written last")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "fill":
        fill(int(arguments[0]))
    else:
        {"run": run, "prove": prove}[command]()
