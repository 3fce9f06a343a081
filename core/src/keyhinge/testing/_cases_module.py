"""Cases about the module and about configuring it."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import Any

from keyhinge import ConfigError, KeyManager
from keyhinge._contract import check_module
from keyhinge._settings import SettingsClassError
from keyhinge.config import json_schema
from keyhinge.testing._base import ONE, PROVIDER, SHORTEST, TWIN, Bench
from keyhinge.testing._case import checks, expect, refused
from keyhinge.testing._guard import guarded
from keyhinge.testing._imports import imported_early
from keyhinge.testing._support import with_changes

__all__ = ["ModuleCases"]


class ModuleCases(Bench):
    """The module, and what configuring it may do."""

    @checks("R1")
    def test_module_implements_the_hook_api(self) -> None:
        """The module has `keyhinge_configure`, marked, and settings that a file can give."""
        problem = check_module(self.provider) or _settings_problem(self.provider)
        expect(problem is None, f"the module doesn't keep to the hook API: {problem}")

    @checks("R2")
    def test_configure_is_pure(self, keys: KeyManager) -> None:
        """Configuring connects nowhere, reads no file and starts no program."""
        # Everything was configured once already, so that no lazy import is left to do.
        with guarded() as guard:
            failure = None
            try:
                keys.clone().close()
            except Exception as error:  # noqa: BLE001 - told below
                failure = error
        expect(not guard.done, f"configuring it {' and '.join(dict.fromkeys(guard.done))}")
        if failure is not None:
            raise failure

    @checks("R3")
    def test_configure_can_be_repeated(self, keys: KeyManager, plaintext: bytes) -> None:
        """Configuring the same settings once more gives a provider that works as well."""
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        with keys.clone() as again:
            expect(
                again.decrypt(value, context=context) == plaintext,
                "a value doesn't open once the same settings were configured again",
            )
            made = again.encrypt(plaintext, context=context)
        expect(
            keys.decrypt(made, context=context) == plaintext,
            "a value of a section that was configured again doesn't open in the first one",
        )

    @checks("R3")
    def test_sections_with_equal_settings_open_each_others_values(
        self, keys: KeyManager, plaintext: bytes
    ) -> None:
        """A section has no state of its own that its values depend on."""
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        expect(
            keys.decrypt(with_changes(value, section=TWIN), context=context) == plaintext,
            "a value opens to something else in a section with equal settings",
        )

    @checks("R4")
    def test_client_library_is_not_imported_early(self) -> None:
        """A new process imports the module, configures it, and hasn't got the client library."""
        self._only(bool(self.client_libraries), "the test names no client_libraries")
        found = imported_early(self._early_job(), self.timeout)
        expect(not found, f"importing and configuring it imported {', '.join(found)}")

    def _early_job(self) -> dict[str, object]:
        return {
            "provider": self.provider,
            "names": tuple(self.client_libraries),
            "config": {
                "keyManagement": {
                    **self.other_sections(),
                    "provider": ONE,
                    ONE: self._blocks()[ONE],
                }
            },
            "environ": {},
        }

    @checks("R29")
    def test_wrong_settings_are_refused(self) -> None:
        """What the author says is wrong is a `ConfigError`, before anything is configured."""
        blocks = self.wrong_settings()
        self._only(bool(blocks), "the test gives no wrong_settings")
        for place, block in enumerate(blocks, start=1):
            config = {"keyManagement": {"provider": ONE, ONE: {"type": PROVIDER, **block}}}
            what = f"block {place} of wrong_settings"

            def opened(config: dict[str, Any] = config) -> None:
                KeyManager.open(config, providers={PROVIDER: self.provider}, environ={}).close()

            shown = str(refused(opened, ConfigError, f"{what} is taken"))
            for key, value in block.items():
                expect(
                    len(str(value)) < SHORTEST or str(value) not in shown,
                    f"the error for {what} shows the value of {key}",
                )

    @checks("R5")
    def test_properties_do_no_io(self, keys: KeyManager) -> None:
        """All attributes of the provider can be looked at, as debuggers do."""
        provider = self._provider(keys)
        for name in dir(provider):
            member = inspect.getattr_static(provider, name, None)
            if not isinstance(member, property | functools.cached_property):
                continue
            # What else it raises is its own affair.
            with guarded() as guard, contextlib.suppress(Exception):
                getattr(provider, name)
            expect(not guard.done, f"looking at its property {name} {' and '.join(guard.done)}")


def _settings_problem(module: Any) -> str | None:
    """Look at all fields of the settings class, also at those that no test's block gives."""
    try:
        json_schema({PROVIDER: getattr(module, "keyhinge_settings", None)})  # type: ignore[dict-item]
    except SettingsClassError as error:
        return str(error)
    return None
