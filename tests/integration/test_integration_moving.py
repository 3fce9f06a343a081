"""The documentation's example of a move: nothing fails and nothing is lost, there and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "moving"


@pytest.fixture
def play(tmp_path):
    """Return a function that runs the example: its exit code, and what it printed."""

    def run(url, *arguments):
        environ = {k: v for k, v in os.environ.items() if not k.startswith("KEYHINGE_")}
        # With --database the URL would be seen by everybody; it may have a password.
        environ |= {"KEYHINGE_DATABASE": url, "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "run.py", "--replicas", "2", *arguments],
            cwd=EXAMPLE,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.timeout(600)
def test_there_and_back_under_load(play, database_url):
    """No read and no write fails, and every row is under the section that it should be under."""
    code, out, err = play(database_url)
    assert (code, err) == (0, "")
    assert out.count("failed") == out.count("is lost: each is what was written last") == 2
    there, back = out.index("every row is under second"), out.index("every row is under local")
    assert there < out.index("back: ") < back


def test_without_the_first_step(play, database_url, tmp_path):
    """A replica that doesn't know the new section can't read what others write, and says so."""
    code, out, err = play(database_url, "--skip-step-1")
    assert code == 1
    assert "(step-0.yaml) failed: SectionNotConfiguredError: " in err
    assert "'second'" in err
    assert "Traceback" not in err
    assert "access-" not in out + err
    assert "is lost" not in out
