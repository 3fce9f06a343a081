#!/usr/bin/env python3
"""Run every check there is: ``python3 dev/test.py``.

Needs nothing but Python: it makes a virtual environment in `.venv-nox`, puts nox there and starts
it. What is behind the command goes to nox, as in ``python3 dev/test.py -s lint``.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "Keyhinge needs Python 3.10 or newer; this is Python %d.%d.\n"
        "Run the same line with a newer one, for example: python3.12 dev/test.py"
        % sys.version_info[:2]
    )

import _bootstrap

if __name__ == "__main__":
    sys.exit(_bootstrap.main(_bootstrap.run_nox, sys.argv[1:]))
