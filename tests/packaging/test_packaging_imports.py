"""What an import brings along."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"boto3", "hvac", "sqlalchemy", "cryptography", "asyncio", "concurrent.futures", "requests"}


def loaded_by(statement):
    """Return the modules that a new interpreter has loaded after `statement`."""
    program = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_core_is_cheap():
    """Core brings no client library, no database, no cipher and no event loop."""
    assert loaded_by("import keyhinge") & HEAVY == set()


def test_importing_a_provider_leaves_its_client_library_alone(every):
    """The first operation imports it: a provider that nobody uses costs next to nothing."""
    providers = [each for each in every if each.is_provider]
    assert providers
    for provider in providers:
        assert loaded_by(f"import {provider.module}") & HEAVY == set(), provider.name


def test_the_heavy_modules_would_be_seen():
    """The list of loaded modules is complete enough for the tests above to fail."""
    assert HEAVY & loaded_by("import asyncio, concurrent.futures") == {
        "asyncio",
        "concurrent.futures",
    }
