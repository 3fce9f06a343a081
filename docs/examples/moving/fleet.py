"""The deployment: replicas that are replaced one by one, and what they report when they end."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from pathlib import Path

from load import Journal
from replica import serve

# Each replica is a process of its own, made from one in which the libraries are loaded already.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["keyhinge_store", "keyhinge_local"])
SECONDS = 60  # to start, and to stop


class FleetError(Exception):
    """A replica has failed; the message has what it said."""


class Replica:
    """A process that runs the application.

    Args:
        config: Its configuration.
        number: Which of all replicas that ever ran it is.
    """

    def __init__(self, config: Path, number: int) -> None:
        self.name = f"replica {number} ({config.name})"
        self.stopping = PROCESSES.Event()
        self.pipe, theirs = PROCESSES.Pipe()
        arguments = (config, number, self.stopping, theirs)
        self.process = PROCESSES.Process(target=serve, args=arguments)
        self.process.start()
        theirs.close()

    def receive(self) -> list[Journal]:
        """Wait for what it says next.

        Raises:
            FleetError: It says nothing.
        """
        with contextlib.suppress(EOFError):
            if self.pipe.poll(SECONDS):
                return self.pipe.recv() or []
        msg = f"{self.name} ended, or hangs, without a word"
        raise FleetError(msg)

    def stop(self) -> list[Journal]:
        """End it, and give what its customers did.

        Raises:
            FleetError: A read or a write has failed.
        """
        self.stopping.set()
        journals = self.receive()
        self.process.join(SECONDS)
        self.pipe.close()
        errors = [journal.error for journal in journals if journal.error]
        if errors:
            msg = f"{self.name} failed: {errors[0]}"
            raise FleetError(msg)
        return journals


class Fleet:
    """All replicas of the application.

    Args:
        size: How many run side by side.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.started = 0
        self.replicas: list[Replica] = []
        self.journals: list[Journal] = []

    def roll(self, config: Path, *, pause: float = 0.3) -> None:
        """Replace each replica by one with another configuration, one after the other.

        Args:
            config: The configuration of the new ones.
            pause: For how many seconds old and new ones work side by side each time.

        Raises:
            FleetError: A replica has failed.
        """
        old = self.replicas[:]
        for _ in range(self.size):
            replica = Replica(config, self.started)
            self.started += 1
            self.replicas.append(replica)
            replica.receive()
            self.watch(pause)
            if old:
                self._stop(old.pop(0))

    def watch(self, seconds: float) -> None:
        """Look for a time whether all are at work.

        Raises:
            FleetError: One isn't.
        """
        end = time.monotonic() + seconds
        while True:
            for replica in self.replicas[:]:
                # Not stopped by us: something went wrong.
                if replica.stopping.is_set() or not replica.process.is_alive():
                    self._stop(replica)
            if time.monotonic() > end:
                return
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop all replicas."""
        for replica in self.replicas[:]:
            self._stop(replica)

    def kill(self) -> None:
        """End what is left after an error."""
        for replica in self.replicas:
            replica.process.kill()
            replica.process.join()

    def _stop(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        self.journals += replica.stop()
