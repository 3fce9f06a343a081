"""One replica of the application: a process in which customers use it until it is told to stop."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from load import Customer
from service import BankTokens

from keyhinge import KeyManager
from keyhinge_store import open_tables

CUSTOMERS = 2


def serve(config: Path, number: int, stop: Event, parent: Connection) -> None:
    """Say that it works, serve customers, and give their journals to the parent process.

    Args:
        config: Its configuration. The database is named by KEYHINGE_DATABASE.
        number: Which of all replicas that ever ran it is.
        stop: Ends it; set by a customer, too, with whom something went wrong.
        parent: Is sent None when the replica works, and the journals when it ends.
    """
    with KeyManager.open(config, fail_fast=True) as keys, open_tables(keys) as tables:
        tokens = BankTokens(tables)
        accounts = range(number * CUSTOMERS, (number + 1) * CUSTOMERS)
        customers = [Customer(tokens, stop, account) for account in accounts]
        for customer in customers:
            customer.start()
        parent.send(None)
        for customer in customers:
            customer.join()
    parent.send([customer.journal for customer in customers])
