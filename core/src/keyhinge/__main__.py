"""`python -m keyhinge`: the command, if the package that has it is installed."""

import runpy
import sys
from importlib.util import find_spec

# Core knows the command by its name alone; it never depends on it.
_COMMAND = "keyhinge_cli"

if __name__ == "__main__":
    if find_spec(_COMMAND) is None:
        sys.stderr.write(
            "the keyhinge command isn't installed here. "
            'To install it: pip install "keyhinge[cli,local,store]"\n'
        )
        sys.exit(2)
    runpy.run_module(_COMMAND, run_name="__main__", alter_sys=True)
