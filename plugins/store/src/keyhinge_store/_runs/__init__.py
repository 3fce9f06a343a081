"""The state of migrations: which run is under way, who works on which keys, what failed.

It is kept in tables of our own in the same database, so that any number of processes on any number
of machines share it, and so that it outlives all of them.
"""

from keyhinge_store._runs._evidence import Participant
from keyhinge_store._runs._info import RunInfo, RunProcess, abandon, run, runs
from keyhinge_store._runs._tables import create_state_tables, state_statements

__all__ = [
    "Participant",
    "RunInfo",
    "RunProcess",
    "abandon",
    "create_state_tables",
    "run",
    "runs",
    "state_statements",
]
