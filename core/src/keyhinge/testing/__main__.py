"""`python -m keyhinge.testing R10`: a rule of the provider contract with its reason and remedy.

It is what a failing case of the kit names, so it needs nothing but what the kit needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from keyhinge.testing._rules import RULES
from keyhinge.testing._run import cases_of

USAGE = "usage: python -m keyhinge.testing [RULE]..., as in R10; all rules without one"


def main(arguments: Sequence[str]) -> int:
    """Print the rules that are asked for; give the exit code."""
    from keyhinge.testing._conformance import ProviderConformance

    wanted = [each.upper() for each in arguments] or list(RULES)
    if any(each not in RULES for each in wanted):
        print(f"{USAGE}\nThe rules are {next(iter(RULES))} to {[*RULES][-1]}.", file=sys.stderr)  # noqa: T201
        return 2
    cases = cases_of(ProviderConformance)
    texts = []
    for each in wanted:
        names = [name for name, case in cases.items() if getattr(case, "keyhinge_rule", "") == each]
        texts.append(f"{RULES[each].explain()}\n  Checked by: {', '.join(names)}")
    print("\n\n".join(texts))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
