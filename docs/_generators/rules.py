"""The numbered rules of the provider contract, from the list that the conformance kit cites."""

from __future__ import annotations

from keyhinge.testing import RULES, ProviderConformance
from keyhinge.testing._run import cases_of


def generate() -> dict[str, str]:
    """Return the part of the page by file name."""
    cases: dict[str, list[str]] = {}
    for name, case in cases_of(ProviderConformance).items():
        cases.setdefault(getattr(case, "keyhinge_rule", ""), []).append(f"`{name}`")
    parts = [
        # A heading is an anchor both where a page was built and where it is read as it is.
        f"### {rule.id}\n\n"
        f"**{rule.text}**\n\n"
        f"*Why:* {rule.reason}\n\n"
        f"*What to do:* {rule.remedy}\n\n"
        f"*Checked by* {', '.join(cases[rule.id])}.\n"
        for rule in RULES.values()
    ]
    return {"rules.md": "\n".join(parts)}
