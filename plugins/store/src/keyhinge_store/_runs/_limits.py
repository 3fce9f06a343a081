"""Figures that all who take part in a run should have in common."""

LEASE_SECONDS = 30.0
"""After so many seconds of silence others take over what somebody worked on."""

RANGE_KEYS = 10_000
"""At most so many keys, or a batch if that is more, are given to somebody at once."""

MAX_SWEEPS = 10
"""How often a table is gone through before a run is given up as unsettled."""

FAILURES_PER_RANGE = 1000
"""So many rows that failed are named in each range. All of them are counted."""
