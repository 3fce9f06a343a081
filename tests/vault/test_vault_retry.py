"""Trying again, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyhinge_vault._errors import KINDS, ServiceError
from keyhinge_vault._retry import Patience


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.stop = False

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> bool:
        self.slept.append(seconds)
        self.now += seconds
        return self.stop


@pytest.fixture
def clock() -> Clock:
    return Clock()


def patience(clock: Clock, seconds: float, jitter: Callable[[], float] = lambda: 1.0) -> Patience:
    return Patience(seconds, clock=clock, sleep=clock.sleep, jitter=jitter)


class Failing:
    """Fails in the given ways, one after the other, then answers."""

    def __init__(self, *errors: ServiceError, clock: Clock | None = None, takes: float = 0) -> None:
        self.errors = list(errors)
        self.given: list[float | None] = []
        self._clock = clock
        self._takes = takes

    def __call__(self, seconds: float | None) -> str:
        self.given.append(seconds)
        if self._clock is not None:
            self._clock.now += self._takes
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def down() -> ServiceError:
    return ServiceError("connection")


class TestCall:
    def test_success(self, clock: Clock):
        """Nothing is waited for, and the time-out is the request's own."""
        attempt = Failing()
        assert patience(clock, 30).call(attempt) == "answer"
        assert (attempt.given, clock.slept) == ([None], [])

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_only_where_it_helps(self, clock: Clock, kind: str):
        attempt = Failing(ServiceError(kind))
        if KINDS[kind].retry:
            assert patience(clock, 30).call(attempt) == "answer"
            assert len(attempt.given) == 2
        else:
            with pytest.raises(ServiceError):
                patience(clock, 30).call(attempt)
            assert (len(attempt.given), clock.slept) == (1, [])

    def test_what_can_get_better(self):
        """Whatever is tried again is an error that callers may try again, too."""
        for kind in KINDS.values():
            if kind.retry:
                assert kind.error("x", retryable=kind.retryable).retryable

    def test_other_errors_pass(self, clock: Clock):
        def attempt(seconds: float | None) -> str:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            patience(clock, 30).call(attempt)

    def test_pauses_grow_up_to_a_limit(self, clock: Clock):
        patience(clock, 1000).call(Failing(*(down() for _ in range(8))))
        assert clock.slept == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0]

    def test_full_jitter(self, clock: Clock):
        patience(clock, 30, lambda: 0.0).call(Failing(down(), down()))
        assert clock.slept == [0.0, 0.0]

    def test_bound_in_time(self, clock: Clock):
        """Attempts and pauses together stay within the bound, and say how long each may take."""
        attempt = Failing(*(down() for _ in range(99)), clock=clock, takes=2.0)
        with pytest.raises(ServiceError) as caught:
            patience(clock, 10).call(attempt)
        assert caught.value.kind == "connection"
        assert clock.now - 1000 <= 10
        rest = [seconds for seconds in attempt.given if seconds is not None]
        assert attempt.given[0] is None
        assert rest == sorted(rest, reverse=True)
        assert all(0.5 <= seconds <= 8 for seconds in rest)

    def test_no_patience(self, clock: Clock):
        attempt = Failing(down())
        with pytest.raises(ServiceError):
            patience(clock, 0).call(attempt)
        assert len(attempt.given) == 1

    @pytest.mark.parametrize(("asked", "waits"), [(2.0, 2.0), (3600.0, 10.0)])
    def test_retry_after(self, clock: Clock, asked: float, waits: float):
        """The server's wish is granted, up to a limit."""
        error = ServiceError("throttled", status=429, retry_after=asked)
        patience(clock, 30, lambda: 0.0).call(Failing(error))
        assert clock.slept == [waits]

    def test_retry_after_beyond_the_bound(self, clock: Clock):
        """Then there's no point in waiting."""
        error = ServiceError("throttled", retry_after=10)
        with pytest.raises(ServiceError):
            patience(clock, 5).call(Failing(error))
        assert clock.slept == []

    def test_closing_ends_it(self, clock: Clock):
        clock.stop = True
        attempt = Failing(down(), down())
        with pytest.raises(ServiceError):
            patience(clock, 30).call(attempt)
        assert len(attempt.given) == 1


class TestInside:
    """Calls inside of a call, which share its bound."""

    def test_trouble_counts_once(self, clock: Clock):
        bound = patience(clock, 20, lambda: 0.0)
        inner = Failing(down(), clock=clock, takes=5.0)
        outer = Failing(down(), clock=clock, takes=1.0)

        def attempt(seconds: float | None) -> str:
            if not outer.given:
                bound.call(inner)
            return outer(seconds)

        assert bound.call(attempt) == "answer"
        # Five seconds of a failure and five of an answer inside, one outside.
        assert inner.given == [None, 15.0]
        assert outer.given == [None, 9.0]

    def test_what_used_it_up_inside_ends_it_outside(self, clock: Clock):
        bound = patience(clock, 10)
        inner = Failing(*(down() for _ in range(99)), clock=clock, takes=3.0)
        count = 0

        def attempt(_seconds: float | None) -> str:
            nonlocal count
            count += 1
            return bound.call(inner)

        with pytest.raises(ServiceError):
            bound.call(attempt)
        assert count == 1
        assert clock.now - 1000 <= 13


class TestWholeBatch:
    """Several requests share one bound."""

    def test_fail_at_once_after_an_outage(self, clock: Clock):
        """In an outage the other chunks cost nothing more."""
        bound = patience(clock, 10)
        with pytest.raises(ServiceError):
            bound.call(Failing(*(down() for _ in range(99))))
        now, attempt = clock.now, Failing()
        for _ in range(20):
            with pytest.raises(ServiceError) as caught:
                bound.call(attempt)
            assert caught.value.kind == "connection"
        assert (attempt.given, clock.now) == ([], now)

    def test_success_takes_none_of_it(self, clock: Clock):
        """A batch that takes long is as patient at its end as at its beginning."""
        bound = patience(clock, 10)
        for _ in range(20):
            bound.call(Failing(clock=clock, takes=5.0))
        assert bound.call(Failing(down())) == "answer"

    def test_trouble_adds_up(self, clock: Clock):
        bound = patience(clock, 10)

        def call_often() -> None:
            for _ in range(20):
                bound.call(Failing(down(), clock=clock, takes=1.0))

        with pytest.raises(ServiceError):
            call_often()
        assert clock.now - 1000 < 10 + 20

    def test_what_stays_wrong_breaks_nothing(self, clock: Clock):
        """One item's wrong request says nothing of the next."""
        bound = patience(clock, 10)
        with pytest.raises(ServiceError):
            bound.call(Failing(ServiceError("bad-request")))
        assert bound.call(Failing()) == "answer"

    def test_tracebacks_do_not_pile_up(self, clock: Clock):
        bound = patience(clock, 0)
        depths = set()
        for _ in range(5):
            with pytest.raises(ServiceError) as caught:
                bound.call(Failing(down()))
            depth, frame = 0, caught.value.__traceback__
            while frame is not None:
                depth, frame = depth + 1, frame.tb_next
            depths.add(depth)
            assert caught.value.__context__ is caught.value.__cause__ is None
        assert max(depths) == 2
