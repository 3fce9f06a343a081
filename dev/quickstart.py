#!/usr/bin/env python3
"""Set Keyhinge up and show what it does: ``python3 dev/quickstart.py``.

Needs nothing but Python: it makes a virtual environment in `.venv`, installs the packages of this
clone there and runs `dev/demo.py`. Afterwards `.venv/bin/keyhinge` is there to be played with.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "Keyhinge needs Python 3.10 or newer; this is Python %d.%d.\n"
        "Run the same line with a newer one, for example: python3.12 dev/quickstart.py"
        % sys.version_info[:2]
    )

import _bootstrap

if __name__ == "__main__":
    sys.exit(_bootstrap.main(_bootstrap.run_demo, sys.argv[1:]))
