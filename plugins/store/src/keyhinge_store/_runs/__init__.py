"""The state of migrations: which run is under way, who works on which keys, what failed.

It is kept in tables of our own in the same database, so that any number of processes on any number
of machines share it, and so that it outlives all of them.
"""
