"""Without one client library, everything that doesn't need it works.

Each test is a program of its own, in which importing the library fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BLOCKED = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
PROGRAM = """
import json, sys
from keyhinge import KeyManager, KeyhingeError

blocks, working, missing = json.loads(sys.stdin.read())
file = {"keyManagement": {"provider": working[0], **blocks}}
with KeyManager.open(file, environ={}) as keys:
    for name in working:
        value = keys.encrypt(b"token", context={"account": "1"}, section=name)
        assert keys.decrypt(value, context={"account": "1"}) == b"token"
        again = keys.rewrap(value, context={"account": "1"})
        assert keys.decrypt(again, context={"account": "1"}) == b"token"
        keys.current_key(name)
        assert not [f for f in keys.check(name).findings if f.level == "error"]
    assert keys.health().ok
    for name in missing:
        try:
            keys.encrypt(b"token", context={}, section=name)
        except KeyhingeError as error:
            print(type(error).__name__, error)
        else:
            raise AssertionError(f"{name} works without its library")
"""
AWS = ("boto3", "botocore", "s3transfer", "jmespath")
VAULT = ("hvac", "requests", "urllib3")


def run(program: str, *, blocked: tuple[str, ...] = (), given: Any = None) -> str:
    """Run a program without some libraries; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED.format(blocked=blocked) + program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(program: str, given: Any) -> set[str]:
    """Give the top-level modules that a program has loaded at its end."""
    ending = "\nprint(*{name.partition('.')[0] for name in sys.modules})"
    return set(run(program + ending, given=given).split())


def test_without_boto3_all_but_aws_works(sections: dict[str, Any]) -> None:
    """Also in a file that has an `aws` section; that one says what is wrong when it is used."""
    working = ["local", "vault", "openbao", "plaintext"]
    printed = run(PROGRAM, blocked=AWS, given=(sections, working, ["aws"]))
    assert "boto" in printed


def test_without_hvac_all_but_vault_and_openbao_works(sections: dict[str, Any]) -> None:
    # Not urllib3 and requests: botocore has urllib3 of its own accord.
    given = (sections, ["local", "aws", "plaintext"], ["vault", "openbao"])
    assert "hvac" in run(PROGRAM, blocked=("hvac", "requests"), given=given)


OPEN = """
import json, sys
from keyhinge import KeyManager
blocks, primary, use = json.loads(sys.stdin.read())
with KeyManager.open({"keyManagement": {"provider": primary, **blocks}}, environ={}) as keys:
    if use:
        keys.decrypt(keys.encrypt(b"token", context={}), context={})
"""


class TestLoading:
    """What opening and using bring along."""

    @pytest.mark.parametrize("primary", ["vault", "openbao", "aws", "local"])
    def test_configuring_loads_no_client_library(self, sections, primary):
        found = loaded(OPEN, (sections, primary, False))
        assert not found & {"boto3", "botocore", "hvac", "requests", "urllib3", "cryptography"}
        assert "keyhinge_vault" in found  # it was really configured

    @pytest.mark.parametrize("primary", ["vault", "openbao"])
    def test_using_vault_loads_no_boto3(self, sections, primary):
        found = loaded(OPEN, (sections, primary, True))
        assert "hvac" in found
        assert not found & {"boto3", "botocore"}

    def test_using_aws_loads_no_hvac(self, sections):
        found = loaded(OPEN, (sections, "aws", True))
        assert "boto3" in found
        assert "hvac" not in found

    def test_using_local_loads_neither(self, sections):
        found = loaded(OPEN, (sections, "local", True))
        assert not found & {"boto3", "botocore", "hvac", "requests"}


def test_the_command_works_without_either(tmp_path: Path, sections: dict[str, Any]) -> None:
    """A store, a check and a listing of what is installed."""
    import yaml

    local = {"keyManagement": {"provider": "local", "local": sections["local"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(local), encoding="utf-8")
    program = f"""
import os
os.chdir({str(tmp_path)!r})
from keyhinge_cli._main import run
for arguments in (["check"], ["providers"], ["config", "check"], ["config", "schema"]):
    code = run(arguments)
    assert code == 0, (arguments, code)
"""
    assert "keyhinge-aws" in run(program, blocked=(*AWS, *VAULT))
