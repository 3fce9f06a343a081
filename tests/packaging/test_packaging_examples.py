"""The machine that executes the documentation's examples: a wrong example must be found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

FENCE = "```"


@pytest.fixture
def check(root, tmp_path):
    """Return a function that runs a page's examples: pytest's last line, and all it printed."""
    shutil.copytree(root / "dev", tmp_path / "dev", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)

    def run(page):
        (tmp_path / "page.md").write_text(page.replace("~~~", FENCE), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "docs_examples", "page.md"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "dev"), "KEYHINGE_CONFIG": "elsewhere"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines()[-1].rpartition(" in ")[0], done.stdout

    return run


GOOD = """
# A page

<!-- file: sub/settings.yaml -->
~~~yaml
a: 1
~~~

~~~python
from pathlib import Path
text = Path("sub/settings.yaml").read_text()
~~~

~~~python
>>> text
'a: 1\\n'
~~~

~~~console
$ cat sub/settings.yaml
a: 1
$ cd sub; export NAME=x
$ pwd; echo "$NAME" \\
>   "$KEYHINGE_CONFIG"
…/sub
x
$ printf '1\\n2\\n3\\n' && false || echo "exit code $?"
1
…
exit code 1
~~~

<!-- not run: shows that this stays out -->
~~~console
$ exit 3
~~~

~~~text
anything
~~~

~~~{note}
A note.
~~~
"""


def test_a_page_with_right_examples(check):
    """Files, Python, doctests and commands share one folder; nothing comes from outside."""
    last, printed = check(GOOD)
    assert last == "4 passed, 1 skipped", printed


WRONG = [
    ("~~~console\n$ echo one\ntwo\n~~~", "+one"),
    ("~~~console\n$ echo three\n~~~", "+three"),
    ("~~~console\n$ true\nnothing\n~~~", "-nothing"),
    ("~~~console\n$ echo one; exit 4\none\n~~~", "ended with exit code 4"),
    ("~~~console\necho one\n~~~", "at least one line that begins"),
    ("~~~python\nassert 1 == 2\n~~~", "AssertionError"),
    ("~~~python\n>>> 1 + 1\n3\n~~~", "Expected:"),
    ("~~~yaml\na: [\n~~~", "ParserError"),
    ("~~~bash\necho one\n~~~", "a fence in 'bash' is neither executed nor known as text"),
    ("~~~\necho one\n~~~", "a fence in '' is neither executed nor known as text"),
    ("<!-- file: ../x -->\n~~~text\nx\n~~~", "is outside of the page's folder"),
]


def test_wrong_examples_are_found(check):
    """Each kind of wrong example fails by itself, with the reason."""
    last, printed = check("\n\n".join(fence for fence, _ in WRONG) + "\n")
    assert last == f"{len(WRONG)} failed", printed
    assert [reason for _, reason in WRONG if reason not in printed] == []
