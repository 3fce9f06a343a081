"""What all cases of the kit stand on: the sections under test, and what is known about them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from keyhinge import Capabilities, KeyManager, Provider, ProviderContractError, ProviderLoadError
from keyhinge._section import OpenSection
from keyhinge.testing._case import BrokenRuleError, bounded, skip

__all__ = [
    "BATCH_HOOKS",
    "CONTEXT",
    "MARKER",
    "ONE",
    "PROVIDER",
    "SHORTEST",
    "STRANGER",
    "TWIN",
    "Bench",
]

PROVIDER = "provider-under-test"
ONE, TWIN, STRANGER = "one", "twin", "stranger"
"""The sections under test: the primary, one with equal settings, and one with a key of its own."""

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
MARKER = b"k3yh1nge-conformance-plaintext"
BATCH_HOOKS = ("keyhinge_encrypt_many", "keyhinge_decrypt_many", "keyhinge_rewrap_many")
SHORTEST = 8
"""Shorter secrets stand in any text by chance."""


class Bench:
    """The members that an author gives, and pytest's fixtures for the cases."""

    provider: Any
    """The module that the entry point names."""

    client_libraries: Sequence[str] = ()
    """The modules of the client library, as in `("boto3", "botocore")`: none may be imported
    before the first operation."""

    timeout: float = 60
    """How many seconds a case may take before it is said to block for ever."""

    no_stranger = "there is no second section with a key of its own"

    def settings(self) -> Mapping[str, Any]:
        """Give the section's block as in the YAML file."""
        raise NotImplementedError

    def other_settings(self) -> Mapping[str, Any]:
        """Give another block, with a key of its own: values of one mustn't open in the other."""
        raise NotImplementedError

    def wrong_settings(self) -> Sequence[Mapping[str, Any]]:
        """Give blocks that the settings class refuses; none if it checks nothing itself."""
        return ()

    def other_sections(self) -> Mapping[str, Mapping[str, Any]]:
        """Give further sections by name, of installed providers: those that yours builds on."""
        return {}

    @pytest.fixture
    def keys(self) -> Iterator[KeyManager]:
        """Open the sections `one`, `twin` (equal settings) and `stranger` (other settings)."""
        with self._opened() as keys:
            yield keys

    @pytest.fixture
    def capabilities(self, keys: KeyManager) -> Capabilities:
        """Give what the provider declares."""
        return keys.capabilities()

    @pytest.fixture
    def plaintext(self, keys: KeyManager) -> bytes:
        """Give a plaintext that the provider takes and that is easy to find again."""
        return self._plaintext(keys)

    # For the cases, and for those who run them without pytest

    def _open(self) -> KeyManager:
        config = {"keyManagement": {"provider": ONE, **self._blocks()}}
        return KeyManager.open(config, providers={PROVIDER: self.provider}, environ={})

    def _blocks(self) -> dict[str, Any]:
        return {
            **self.other_sections(),
            ONE: {"type": PROVIDER, **self.settings()},
            TWIN: {"type": PROVIDER, **self.settings()},
            STRANGER: {"type": PROVIDER, **self.other_settings()},
        }

    @contextmanager
    def _opened(self) -> Iterator[KeyManager]:
        try:
            keys = bounded(self._open, self.timeout)
        except (ProviderLoadError, ProviderContractError) as failure:
            raise BrokenRuleError("R1", str(failure)) from failure
        sections: list[OpenSection] = []
        try:
            for name in keys.sections:
                if name in {ONE, TWIN, STRANGER}:
                    keys.capabilities(name)  # raises what is wrong with its settings
            sections = list(keys._opened().closing_order)  # noqa: SLF001 - the kit belongs to core
            yield keys
        finally:
            try:
                bounded(keys.close, self.timeout)
            finally:
                # One whose closing never comes back mustn't keep Python from ending either.
                for section in sections:
                    section.abandon()

    def _plaintext(self, keys: KeyManager) -> bytes:
        capabilities = keys.capabilities()
        return MARKER.ljust(capabilities.min_plaintext, b".")[: capabilities.max_plaintext]

    def _context(self, keys: KeyManager) -> dict[str, str]:
        capabilities = keys.capabilities()
        return CONTEXT if capabilities.binds_context or not capabilities.encrypts else {}

    def _section(self, keys: KeyManager, name: str | None = None) -> OpenSection:
        return keys._section(name)  # noqa: SLF001 - the kit belongs to core

    def _provider(self, keys: KeyManager) -> Provider:
        """Give the object that `keyhinge_configure` returned."""
        section = self._section(keys)
        for hook in (section.encrypt, section.decrypt, *section.hooks.values()):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, Provider):
                return owner
        skip("its hooks belong to no instance")
        raise AssertionError

    def _settings(self, keys: KeyManager) -> Any:
        """Give the instance of the settings class that the section was configured with."""
        return self._all_settings(keys)[0]

    def _all_settings(self, keys: KeyManager) -> list[Any]:
        plan = keys._plan  # noqa: SLF001 - the kit belongs to core
        have = {each.name: each.settings for each in plan.blueprints}
        return [have[name] for name in (ONE, TWIN, STRANGER) if name in have]

    def _only(self, applies: bool, otherwise: str) -> None:
        if not applies:
            skip(otherwise)

    def _stranger(self, keys: KeyManager) -> None:
        self._only(STRANGER in keys.sections, self.no_stranger)

    def _hook(self, keys: KeyManager, name: str) -> Any:
        """Give an optional hook, or leave the case out where the provider hasn't got it."""
        hook = self._section(keys).hooks.get(name)
        self._only(hook is not None, f"it doesn't implement {name}")
        return hook


def parameters_of(case: Any) -> list[str]:
    """List the fixtures that a case asks for."""
    return list(inspect.signature(case).parameters)[1:]
