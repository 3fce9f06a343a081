"""The numbered rules of the provider contract, from the list that the conformance kit cites."""

from __future__ import annotations

from keyhinge.testing import RULES, ProviderConformance
from keyhinge.testing._run import cases_of


def generate() -> dict[str, str]:
    """Return the part of the page by file name."""
    cases: dict[str, list[str]] = {}
    for name, case in cases_of(ProviderConformance).items():
        cases.setdefault(getattr(case, "keyhinge_rule", ""), []).append(f"`{name}`")
    lines: list[str] = []
    for rule in RULES.values():
        checked = ", ".join(cases[rule.id])
        lines += [
            f"({rule.anchor})=",
            f"**{rule.id}.** {rule.text}",
            f"*Checked by* {checked}.",
            "",
        ]
    return {"rules.md": "\n".join(lines)}
