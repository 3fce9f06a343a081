"""The Transit keys of a section, and finding out what has to be known of one before it is used.

Three things must be known before a key is used: that it is there (encrypting could make it), how
it binds a context, and that it really does. `_probe` finds them out. What one key was found to be
is never believed of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from keyhinge_vault._errors import ServiceError
from keyhinge_vault._key import Key
from keyhinge_vault._probe import Probe
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import Mode

__all__ = ["Keys"]

# What finding out takes, a login included. (Searching for the versions of a key that may not be
# read can take more, but not of requests that all take as long as they may.)
_REQUESTS = 8


class Keys:
    """The keys of one section.

    Args:
        session: Asks the server.
        names: The names that the configuration gives.
        mount: Where Transit is mounted.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        session: Session,
        names: tuple[str, ...],
        mount: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._keys = {name: Key(name, mount, clock) for name in names}

    def get(self, name: str) -> Key | None:
        """Give a configured key; None for any other name."""
        return self._keys.get(name)

    def mode(
        self, key: Key, patience: Patience, *, sealing: bool = False, version: str = "1"
    ) -> Mode:
        """Give how a key binds a context, finding out what has to be known before it is used.

        Args:
            key: The key.
            patience: The caller's bound in time.
            sealing: Whether it is to encrypt, which must not make it.
            version: A version that it may have: that of a value to open.

        Raises:
            ServiceError: It can't be used, or the server can't be asked.
        """
        key.after_fork()
        known = key.usable(sealing=sealing)
        if known is not None:
            return known
        return key.single.run(
            lambda: key.usable(sealing=sealing),
            lambda: self._find_out(key, patience, int(version), sealing=sealing),
            self._session.longest(patience, _REQUESTS),
        )

    def failed(
        self, key: Key, error: ServiceError, patience: Patience, *, sealing: bool = False
    ) -> ServiceError:
        """Take from a failure what it tells of a key; give what the failure really is.

        Where the token may only update, encrypting with a key that is gone is "denied": to the
        server it would be making one.
        """
        failure = error.copy()
        # What names its own request was a probe's, which has looked already.
        if sealing and failure.kind == "denied" and not failure.request:
            try:
                Probe(self._session, patience, key).look(max(1, key.highest))
            except ServiceError as other:
                if other.kind == "no-key":
                    failure = other.copy()
        if failure.kind == "no-key":
            key.forget()  # it may come back as another kind
        return failure

    def _find_out(self, key: Key, patience: Patience, version: int, *, sealing: bool) -> Mode:
        probe = Probe(self._session, patience, key)
        if sealing and key.may_create is None:
            key.learned_rights(may_create=probe.may_create())
        generation, mode = key.generation, key.proven
        if mode is None or (sealing and key.may_create):
            found = probe.look(max(version, key.highest))
            if found != mode:
                probe.prove(found)
                key.learned(found, generation)
            mode = found
        if sealing:
            key.exists()
        return mode
