"""Wrong before the first operation: in the module, in configure, in properties."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from tests.core.wrong_providers import _early
from tests.core.wrong_providers._right import Module, Right, Settings, wrong

from keyhinge import InvalidSettings, Secret, hookimpl, secret, setting, settings


@wrong("R1", "test_module_implements_the_hook_api")
class HasNoMarker:
    """Forgets what makes a hook of a function."""

    keyhinge_api = 1
    keyhinge_settings = Settings

    def keyhinge_configure(self, settings, section):
        return Right(settings, section)


@settings
class Unchecked:
    token: Secret = secret()
    key_id: str = setting(alias="keyID", default="k1")


@settings
class Telling(Unchecked):
    def __attrs_post_init__(self):
        if " " in self.key_id:
            raise InvalidSettings({"keyID": f"isn't a name: {self.key_id}"})


class Unchecking(Module):
    keyhinge_settings = Unchecked


class Repeating(Module):
    keyhinge_settings = Telling


@wrong("R29", "test_wrong_settings_are_refused", module=Unchecking(Right))
class TakesAnySettings(Right):
    """Leaves it to the first value to find out what an operator typed wrongly."""


@wrong("R29", "test_wrong_settings_are_refused", module=Repeating(Right))
class ShowsWrongSettings(Right):
    """Repeats what is wrong, which may be a secret in the wrong place."""


@settings
class Timed(Settings):
    timeout: timedelta = setting(default=timedelta(seconds=10))


class Timing(Module):
    keyhinge_settings = Timed


@wrong("R1", "test_module_implements_the_hook_api", module=Timing(Right))
class HasASettingThatNoFileCanGive(Right):
    """Has a field of another type than settings have. No block of its test gives it."""


@wrong("R1", "test_round_trip")
class HasOtherArguments(Right):
    """Has a hook with arguments of its own."""

    @hookimpl
    def keyhinge_encrypt(self, data, context):
        return self.seal(data, context)


@wrong("R1", "test_round_trip")
class IsAsync(Right):
    """Has a hook that nobody awaits."""

    @hookimpl
    async def keyhinge_decrypt(self, value, context):  # type: ignore[override]
        return self.open(value, context)


@wrong("R1", "test_round_trip")
class HasAHookOfItsOwn(Right):
    """Misspells one."""

    @hookimpl
    def keyhinge_decrypt_all(self, items):
        return []


@wrong("R1", "test_round_trip")
class MakesNothing:
    """Configures, and forgets to return."""

    keyhinge_api = 1
    keyhinge_settings = Settings

    @hookimpl
    def keyhinge_configure(self, settings, section):
        Right(settings, section)


@wrong("R2", "test_configure_is_pure")
class ConnectsWhenConfigured(Right):
    """Logs in at once, and says nothing when that fails."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        try:
            with socket.create_connection(("127.0.0.1", 9), timeout=1):
                pass
        except OSError:
            pass


@wrong("R2", "test_configure_is_pure")
class LooksItsHostUp(Right):
    """Wants to know early whether there is such a host."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        socket.getaddrinfo("localhost", 443)


@wrong("R2", "test_configure_is_pure")
class ReadsAFileWhenConfigured(Right):
    """Reads its key at once."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        Path(__file__).read_bytes()


@wrong("R2", "test_configure_is_pure")
class StartsAProgram(Right):
    """Asks a program for its key."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)


@wrong("R3", "test_configure_can_be_repeated")
class MakesAKeyForItself(Right):
    """Has a key that no other instance has."""

    def __init__(self, settings, section):
        super().__init__(settings, section)
        self.own = os.urandom(32)

    def key(self):
        return self.own


@wrong("R3", "test_sections_with_equal_settings_open_each_others_values")
class BindsItsSectionsName(Right):
    """Makes the section's name a part of the key, so that no section can be renamed."""

    def key(self):
        return super().key() + self.section.encode()


@wrong("R5", "test_properties_do_no_io")
class ConnectsInAProperty(Right):
    """Connects when somebody looks."""

    @property
    def client(self):
        return socket.create_connection(("127.0.0.1", 9), timeout=1)


wrong(
    "R4",
    "test_client_library_is_not_imported_early",
    module=_early,
    client_libraries=("xmlrpc.client",),
)(type("ImportsItsClientLibrary", (), {}))
wrong(
    "R4",
    "test_client_library_is_not_imported_early",
    module=_early.when_configured,
    client_libraries=("xmlrpc.server",),
)(type("ImportsItsClientLibraryWhenConfigured", (), {}))
