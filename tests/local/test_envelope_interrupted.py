"""A thread that is interrupted at any line leaves nothing behind that others would wait for."""

from __future__ import annotations

import linecache
import sys

import pytest

from keyhinge_local.envelope import _flights
from keyhinge_local.envelope._flights import Flights

LINES = 60
NOT_AT = ("with ", "finally:", "self._land(")
CLEANING_UP = ("_land", "_forget")


class Interrupt(BaseException):
    """What a signal handler raises, such as that of a time limit."""


def interrupted_at(number, call):
    """Call something, interrupted before a line of `_flights.py`; tell whether it was.

    Not in what cleans up: no program can be interrupted anywhere and still clean up. Nor where a
    lock is taken or given back, which the interpreter does without looking for signals.
    """
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != _flights.__file__ or frame.f_code.co_name in CLEANING_UP:
            return None
        line = linecache.getline(_flights.__file__, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith(NOT_AT):
            seen += 1
            if seen == number:
                sys.settrace(None)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_at_every_line(monkeypatch):
    """Whoever comes next gets what is wanted, and at once."""
    monkeypatch.setattr(_flights, "WAIT_SECONDS", 0.01)
    count = 0
    for number in range(1, LINES):
        flights: Flights[int, int] = Flights(lambda wanted: dict(wanted), lambda key: None)
        wanted = {b"a": 1, b"b": 2}
        count += interrupted_at(number, lambda run=flights.run, wanted=wanted: run(wanted))
        assert flights._under_way == {}
        assert flights.run(wanted) == wanted
    assert 10 < count < LINES - 1


def test_by_the_key_service():
    def get(wanted):
        raise Interrupt

    flights: Flights[int, int] = Flights(get, lambda key: None)
    with pytest.raises(Interrupt):
        flights.run({b"a": 1})
    assert flights._under_way == {}
