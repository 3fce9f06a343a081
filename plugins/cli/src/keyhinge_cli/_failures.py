"""Saying which rows failed, without saying the same thing for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keyhinge_cli._output import Output

_SHOWN_REASONS = 20


class Failure(Protocol):
    """A row that failed, as migrations and verifications tell it."""

    @property
    def key(self) -> Mapping[str, str]:
        """The row's primary key."""

    @property
    def reason(self) -> str:
        """The error's class."""

    @property
    def message(self) -> str:
        """What is wrong; no value."""


def show_failures(out: Output, what: str, failures: Sequence[Failure], total: int) -> None:
    """Print each reason once, with its first row and how many more there are.

    Args:
        out: Where to.
        what: What the rows have in common, as in "left as it was".
        failures: The rows; where there are many, the first of them.
        total: How many there are.
    """
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.reason, failure.message), []).append(failure)
    for (reason, message), rows in list(groups.items())[:_SHOWN_REASONS]:
        first = ", ".join(f"{name} {value!r}" for name, value in rows[0].key.items())
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        keys = [dict(row.key) for row in rows]
        out.warn(f"{what}: {first}{more}: {message}", reason=reason, keys=keys)
    if total > len(failures):
        out.note(f"… these are the first {len(failures):,} of {total:,}")
    elif len(groups) > _SHOWN_REASONS:
        out.note(f"… and {len(groups) - _SHOWN_REASONS:,} more reasons; --json has all")
