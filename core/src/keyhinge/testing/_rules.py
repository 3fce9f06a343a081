"""The rules of the provider contract, numbered, so that a failing case can say which one it is.

The numbers are stable: a rule that is dropped leaves a gap, and a new one gets the next number.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Mapping

import attrs

from keyhinge.testing._rule_texts import TEXTS

__all__ = ["RULES", "Rule"]

PAGE = "reference/hooks"


@attrs.frozen
class Rule:
    """One rule of the contract between core and a provider.

    Attributes:
        id: Its number, as in `R7`.
        text: The rule in one sentence.
        reason: Why it is one.
        remedy: What to do to keep it.
    """

    id: str
    text: str
    reason: str = ""
    remedy: str = ""

    @property
    def anchor(self) -> str:
        """The anchor in the hook reference."""
        return self.id.lower()

    @property
    def link(self) -> str:
        """Where to read on: a page on the web, or else a command that explains the rule.

        It is a page if the installed package names its documentation under `Project-URL`. The
        command is there wherever the kit is.
        """
        # Not at the top: it brings the whole of `email` along.
        from importlib.metadata import PackageNotFoundError, metadata

        urls: list[str] = []
        with contextlib.suppress(PackageNotFoundError):  # run from its source
            urls = metadata("keyhinge").get_all("Project-URL") or []
        for label, _, url in (line.partition(", ") for line in urls):
            if label.lower() == "documentation":
                return f"{url.rstrip('/')}/{PAGE}.html#{self.anchor}"
        return f"python -m keyhinge.testing {self.id}"

    def explain(self) -> str:
        """Tell the rule with its reason and its remedy, in lines for a terminal."""
        parts = (f"{self}", f"Why: {self.reason}", f"What to do: {self.remedy}")
        return "\n".join(
            textwrap.fill(part, 88, initial_indent=indent, subsequent_indent="  ")
            for part, indent in zip(parts, ("", "  ", "  "), strict=True)
        )

    def __str__(self) -> str:
        return f"{self.id}: {self.text}"


RULES: Mapping[str, Rule] = {f"R{number}": Rule(f"R{number}", *TEXTS[number]) for number in TEXTS}
"""All rules, by their ids."""
